import { beforeAll, describe, expect, it } from "vitest";
import {
  LabMachine,
  collectResidue,
  createBridge,
  createNetworkNamespace,
  expectNoResidue,
  requirePackages,
  residueDifference,
  run,
  testGuest,
} from "../../lab/index.js";
import type { LabGuest } from "../../lab/index.js";

const MAC = "52:54:00:4c:41:42";

let guest: LabGuest;

beforeAll(async () => {
  requirePackages("qemu-system-x86_64", "ip", "dnsmasq", "nft");
  guest = await testGuest();
});

const tapNetwork = (tap: string): string[] => [
  ...["-netdev", `tap,id=net0,ifname=${tap},script=no,downscript=no,vhost=off`],
  ...["-device", `virtio-net-pci,netdev=net0,mac=${MAC}`],
];

describe("a lab bridge", () => {
  it("gives a guest on a TAP device an address by DHCP, and leaves nothing", async () => {
    const before = await collectResidue();
    {
      await using bridge = await createBridge();
      const tap = await bridge.addTap();
      expect(await bridge.ports()).toEqual([tap]);
      await using machine = await LabMachine.start({ kernel: guest, arguments: tapNetwork(tap), agent: false });
      expect(await machine.waitUntilReady()).toMatch(/eth0=10\.77\.0\.1\d\d\/24/);
      expect(await bridge.leases()).toMatchObject([{ mac: MAC, hostname: "guest" }]);
      expect((await machine.shell(`ping -c 1 -W 2 ${bridge.address}`)).exitCode).toBe(0);
      expect(residueDifference(before, await collectResidue())).toContain(`+ interface ${tap} (master ${bridge.name})`);
    }
    await expectNoResidue(before);
  });

  it("serves a guest in another network namespace, with the address that its MAC address has", async () => {
    const before = await collectResidue();
    {
      await using namespace = await createNetworkNamespace();
      await using bridge = await createBridge({ namespace, hosts: { [MAC]: "10.77.0.7" } });
      const tap = await bridge.addTap();
      await using machine = await LabMachine.start({
        kernel: guest,
        arguments: tapNetwork(tap),
        agent: false,
        prefix: namespace.prefix,
      });
      expect(await machine.waitUntilReady()).toContain("eth0=10.77.0.7/24");
      expect(JSON.parse(await run(["ip", "-j", "link", "show", "type", "bridge"]))).not.toContainEqual(
        expect.objectContaining({ ifname: bridge.name }),
      );
    }
    await expectNoResidue(before);
  });
});

describe("a network namespace", () => {
  it("takes its processes, interfaces and rules with it", async () => {
    const before = await collectResidue({ processes: /^(sleep|qemu|dnsmasq)/ });
    const namespace = await createNetworkNamespace();
    await namespace.run(["ip", "link", "add", "left", "type", "veth", "peer", "name", "behind"]);
    await namespace.run(["nft", "add", "table", "inet", "forgotten"]);
    namespace.spawn(["sleep", "600"]);
    const names = await namespace.run(["ls", "/sys/class/net"], { ownSys: true });
    expect(names.split("\n")).toContain("behind");
    const inside = await collectResidue({ prefix: namespace.prefix });
    expect([...inside].filter((line) => line.includes("forgotten"))).toHaveLength(1);
    await namespace.remove();
    await namespace.remove();
    await expectNoResidue(before, { processes: /^(sleep|qemu|dnsmasq)/ });
  });
});
