// Serial consoles on TCP ports, as they are planned and taken to another host.
import { afterEach, expect, it } from "vitest";
import { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import type { LibvirtPlan } from "../../../../src/libvirt/driver/index.js";
import { destinationDomain } from "../../../../src/libvirt/driver/migration/destination-xml.js";
import { parseDomainXml } from "../../../../src/libvirt/index.js";
import { smallSpec } from "../../driver/support/specs.js";
import { LibvirtStage } from "./support/libvirt-stage.js";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

it("listen one after the other, with a pseudo terminal after them, and are three at most", async () => {
  const stage = await LibvirtStage.open({ serialConsole: { address: "::1", firstPort: 20_010, lastPort: 20_019 } });
  cleanups.push(() => stage.close());
  const planOf = async (extraSerialPorts: number): Promise<LibvirtPlan["domain"]> =>
    ((await stage.driver.plan(smallSpec({ hardware: { extraSerialPorts } }))).hypervisor as LibvirtPlan).domain;
  const serial = (await planOf(2)).devices?.serial ?? [];
  expect(serial.map(({ type }) => type)).toEqual(["tcp", "tcp", "tcp", "pty"]);
  expect(serial.map(({ source }) => source?.[0]?.service)).toEqual(["20010", "20011", "20012", undefined]);
  expect(serial[0]?.source).toEqual([{ mode: "bind", host: "::1", service: "20010" }]);
  expect(serial.map(({ log }) => log !== undefined)).toEqual([true, false, false, false]);
  await expect(planOf(3)).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
});

it.each([{ firstPort: 0 }, { lastPort: 65_536 }, { firstPort: 200, lastPort: 100 }, { address: "localhost" }])(
  "are refused where the option makes no sense: %j",
  (serialConsole) => {
    expect(() => new LibvirtDriver({ stateDirectory: "/nowhere", serialConsole })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error,
    );
  },
);

it("have the destination's ports after a live migration, and the guest's names", () => {
  const domain = (address: string, first: number): string => `<domain type='qemu'><name>g</name><devices>
    <serial type='tcp'><source mode='bind' host='${address}' service='${first}'/><protocol type='raw'/><target type='isa-serial' port='0'/><alias name='ua-part-serial0'/></serial>
    <serial type='pty'><target type='isa-serial' port='1'/><alias name='ua-part-serial1'/></serial>
    <console type='tcp'><source mode='bind' host='${address}' service='${first}'/><target type='serial' port='0'/></console></devices></domain>`;
  const { devices } = destinationDomain(
    parseDomainXml(domain("192.0.2.1", 10_000)),
    parseDomainXml(domain("198.51.100.1", 10_077)),
  );
  for (const port of [devices?.serial?.[0], devices?.console?.[0]])
    expect(port?.source).toEqual([{ mode: "bind", host: "198.51.100.1", service: "10077" }]);
  expect(devices?.serial?.map(({ alias }) => alias?.name)).toEqual(["ua-part-serial0", "ua-part-serial1"]);
});
