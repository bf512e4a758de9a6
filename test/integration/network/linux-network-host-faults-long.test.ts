// Faults at every command of a network host: what fails leaves the host as it was, and what dies the next process makes good.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { HostNetwork } from "../../../src/network/host/network-host.js";
import { requirePackages } from "../../lab/index.js";
import { FaultyRunner } from "./faulty-runner.js";
import { hostSnapshot } from "./host-snapshot.js";
import { NetworkLab, dhcpHost, flatNetwork } from "./network-lab.js";

let lab: NetworkLab;

beforeEach(async () => {
  requirePackages("ip", "nft", "dnsmasq", "conntrack", "sysctl");
  lab = await NetworkLab.create();
});

afterEach(async () => {
  await lab?.[Symbol.asyncDispose]();
});

describe("a fault", () => {
  const networks: readonly HostNetwork[] = [
    flatNetwork({ parentInterface: "eth0", sharedAddress: true }),
    flatNetwork({
      parentInterface: "eth0",
      domain: "other.example",
      subnets: [...flatNetwork().subnets, { cidr: "10.3.0.0/24", hostAddress: "10.3.0.1" }],
    }),
  ];
  const floating = { floatingAddress: "192.0.2.50", fixedAddress: "10.1.0.10", networkId: "net-1" };
  const moved = { ...floating, fixedAddress: "10.1.0.11" };

  it("at any command, before or after its effect, leaves the host as it was, and the next call succeeds", async () => {
    const faulty = new FaultyRunner();
    const host = lab.newHost({ commands: faulty, publicInterface: "br-one", gratuitousArps: 0 });
    await host.start();
    const operations: readonly (readonly [string, () => Promise<void>])[] = [
      ["set up", () => host.setUpNetwork(networks[0] as HostNetwork, [dhcpHost(10)])],
      ["change", () => host.setUpNetwork(networks[1] as HostNetwork, [dhcpHost(11)])],
      ["add floating", () => host.addFloating(floating)],
      ["move floating", () => host.addFloating(moved)],
      ["remove floating", () => host.removeFloating(floating.floatingAddress)],
      ["tear down", () => host.tearDownNetwork("net-1")],
    ];
    for (const [name, operation] of operations) {
      const before = await hostSnapshot(lab);
      for (let faults = 0, at = 1; ; at++) {
        for (const when of ["before", "after"] as const) {
          faulty.failAt(at, when);
          const failed = await operation().then(
            () => false,
            () => true,
          );
          if (!failed) {
            expect(faulty.pending, `${name}: the fault at command ${at} was not noticed`).toBe(true);
            faults = -1;
            break;
          }
          expect(await hostSnapshot(lab), `${name}: failed ${when} command ${at}`).toEqual(before);
          faults++;
        }
        if (faults < 0) break;
        expect(at).toBeLessThan(40);
      }
      faulty.failAt(0, "before");
    }
  }, 900_000);

  it("of the whole process at any command is made good by the next one", async () => {
    const faulty = new FaultyRunner();
    const dying = lab.newHost({ commands: faulty, publicInterface: "br-one", gratuitousArps: 0 });
    await dying.start();
    await dying.close();
    const before = await hostSnapshot(lab);
    for (let at = 1; ; at++) {
      faulty.failAt(0, "before");
      const host = lab.newHost({ commands: faulty, publicInterface: "br-one", gratuitousArps: 0 });
      await host.start();
      // No command gets through any more, also none that would undo something: as if the process were gone.
      faulty.dieAt(at);
      const died = await host.setUpNetwork(networks[0] as HostNetwork, [dhcpHost(10)]).then(
        () => false,
        () => true,
      );
      if (!died) {
        faulty.failAt(0, "before");
        await host.tearDownNetwork("net-1");
        await host.close();
        break;
      }
      await host.close();
      faulty.failAt(0, "before");
      const next = lab.newHost({ publicInterface: "br-one", gratuitousArps: 0 });
      await next.start();
      expect(await next.listNetworks()).toEqual([]);
      await next.close();
      expect(await hostSnapshot(lab), `died at command ${at}`).toEqual(before);
    }
  }, 900_000);
});
