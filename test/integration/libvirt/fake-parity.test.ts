/** The simulated host and a real daemon with QEMU (TCG) go through the same scenarios, and are told apart by nothing. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LibvirtConnection } from "../../../src/libvirt/rpc/index.js";
import { SimulatedLibvirtHost } from "../../../src/testing/index.js";
import type { SimulatedLibvirtRelease } from "../../../src/testing/index.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../lab/libvirtd.js";
import { run } from "../../lab/run.js";
import { DRIVER_SCENARIOS } from "./support/driver-scenarios.js";
import { migrateBothWays } from "./support/migration-scenarios.js";
import { SCENARIOS, domainXml, play } from "./support/parity-scenarios.js";

/** Of the two releases that a simulated host can be, the one that the real daemon is more like. */
const CHANGED = 10_000_000n;

let release: SimulatedLibvirtRelease;
let daemon: LabLibvirtd;
let real: LibvirtConnection;
let host: SimulatedLibvirtHost;
let simulated: LibvirtConnection;

beforeAll(async () => {
  daemon = await startLibvirtd();
  real = await LibvirtConnection.open(daemon.uri("qemu"), { timeouts: { callMs: 120_000 } });
  release = (await real.call("connectGetLibVersion")).libVer < CHANGED ? "9.0" : "11.3";
  host = await SimulatedLibvirtHost.create({ release });
  simulated = await LibvirtConnection.open("qemu:///system", { connect: host.connector });
}, 120_000);

afterAll(async () => {
  await Promise.all([real?.close(), simulated?.close()]);
  await Promise.all([daemon?.remove(), host?.close()]);
});

describe("the simulated host", () => {
  it.each([...SCENARIOS, ...DRIVER_SCENARIOS])(
    "is as a real one in: $name",
    async (scenario) => {
      const directory = daemon.file(`parity-${scenario.name.replaceAll(/\W/g, "")}`);
      await mkdir(directory, { recursive: true });
      const disk = join(directory, "disk.qcow2");
      await run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"]);
      const stage = { disk, directory };
      const expected = await play(scenario, { libvirt: real, ...stage });
      expect(await play(scenario, { libvirt: simulated, ...stage })).toEqual(expected);
    },
    180_000,
  );

  it("is as a real one in a migration that a client drives, there, and back and given up", async () => {
    const uri = "tcp://127.0.0.1";
    const cacheDirectory = daemon.file("cache");
    const config = ['host_uuid = "6e1d9a52-1111-4c7a-8a6e-000000000002"'];
    const qemuConfig = ["migration_port_min = 49600", "migration_port_max = 49610"];
    await using second = await startLibvirtd({ config, qemuConfig, cacheDirectory, port: 16_629 });
    await using target = await LibvirtConnection.open(second.uri("qemu"), { timeouts: { callMs: 120_000 } });
    const expected = await migrateBothWays({ from: real, to: target, uri });
    await using other = await SimulatedLibvirtHost.create({ name: "127.0.0.1", release });
    host.reach(other);
    other.reach(host);
    await using there = await LibvirtConnection.open("qemu:///system", { connect: other.connector });
    expect(await migrateBothWays({ from: simulated, to: there, uri })).toEqual(expected);
  }, 180_000);

  it("describes itself and what it has in documents that libvirt's schemas accept", async () => {
    const devices = `<disk type='file' device='disk'><source file='/a'/><target dev='vda'/></disk>
<interface type='bridge'><source bridge='br0'/></interface><serial type='pty'><target port='0'/></serial>
<graphics type='vnc' autoport='yes'/><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`;
    const libvirt = simulated;
    const { dom } = await libvirt.call("domainCreateXml", { xmlDesc: domainXml("valid", devices), flags: 0 });
    const destxml = "<disk type='file'><driver type='qcow2'/><source file='/b'/></disk>";
    await libvirt.call("domainBlockCopy", { dom, path: "vda", destxml, params: [], flags: 4 });
    const copying = await libvirt.call("domainGetXmlDesc", { dom, flags: 0 });
    const xmlDesc = "<domainsnapshot><name>s</name></domainsnapshot>";
    const { snap } = await libvirt.call("domainSnapshotCreateXml", { dom, xmlDesc, flags: 16 });
    const { net } = await libvirt.call("networkLookupByName", { name: "default" });
    const { pool } = await libvirt.call("storagePoolLookupByName", { name: "default" });
    const xml = "<volume><name>v</name><capacity>10</capacity></volume>";
    const { vol } = await libvirt.call("storageVolCreateXml", { pool, xml, flags: 0 });
    const question = { machine: "q35", virttype: "kvm", arch: undefined, emulatorbin: undefined, flags: 0 };
    const nodes = await libvirt.call("connectListAllNodeDevices", { needResults: 1, flags: 0 });
    const documents: readonly (readonly [schema: string, xml: string])[] = [
      ["capability", (await libvirt.call("connectGetCapabilities")).capabilities],
      ["domaincaps", (await libvirt.call("connectGetDomainCapabilities", question)).capabilities],
      ["domain", copying.xml],
      ["domain", (await libvirt.call("domainGetXmlDesc", { dom, flags: 0 })).xml],
      ["domainsnapshot", (await libvirt.call("domainSnapshotGetXmlDesc", { snap, flags: 0 })).xml],
      ["network", (await libvirt.call("networkGetXmlDesc", { net, flags: 0 })).xml],
      ["storagepool", (await libvirt.call("storagePoolGetXmlDesc", { pool, flags: 0 })).xml],
      ["storagevol", (await libvirt.call("storageVolGetXmlDesc", { vol, flags: 0 })).xml],
      ...(await Promise.all(
        nodes.devices.map(async ({ name }): Promise<[string, string]> => [
          "nodedev",
          (await libvirt.call("nodeDeviceGetXmlDesc", { name, flags: 0 })).xml,
        ]),
      )),
    ];
    for (const [index, [schema, text]] of documents.entries()) {
      const file = daemon.file(`document-${index}.xml`);
      await writeFile(file, text);
      await run(["xmllint", "--noout", "--relaxng", `/usr/share/libvirt/schemas/${schema}.rng`, file]);
    }
  });
});
