// The nftables firewall where the kernel tracks flows in bridges and has no br_netfilter. A kernel that is not so runs this file in a guest
// whose kernel is.
import { beforeAll, describe, expect, it } from "vitest";
import { NftablesFirewallDriver } from "../../../src/firewall/index.js";
import { requirePackages } from "../../lab/index.js";
import { fileServer, runInHostGuest } from "../../lab/host-guest.js";
import { expectAgreement } from "./agreement.js";
import { firewallContract } from "./contract.js";
import { FirewallLab } from "./firewall-lab.js";
import { deleteTables } from "./nft-tables.js";

const MODULES = ["nf_conntrack_bridge", "nf_conntrack_netlink", "nft_meta_bridge", "nft_ct", "nft_objref", "tun"];
const FILE = "test/integration/firewall/bridge-tracking-long.test.ts";

interface Report {
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

if (process.env["HYPERVISE_HOST_GUEST"] === undefined) {
  beforeAll(async () => {
    requirePackages("qemu-system-x86_64", "nft", "conntrack", "ip");
    expect(await fileServer(), "virtiofsd, of qemu-system-common or a package of its own").toBeDefined();
  });

  it("filters where flows are tracked in bridges", { timeout: 1_500_000 }, async () => {
    const vitest =
      "node_modules/vitest/vitest.mjs run --project long --testTimeout=600000 --reporter=json --outputFile=/tmp/report.json";
    const { output } = await runInHostGuest({
      modules: MODULES,
      env: { HYPERVISE_HOST_GUEST: "1", HYPERVISE_SANDBOX: "root" },
      script: `'${process.execPath}' ${vitest} ${FILE} > /tmp/log 2>&1
tail -n 40 /tmp/log; echo; echo REPORT; cat /tmp/report.json; echo`,
      timeoutMs: 1_440_000,
    });
    const text = output.split("\nREPORT\n")[1]?.split("\n")[0] ?? "";
    expect(text, output.slice(-4_000)).toMatch(/^\{/);
    const { testResults } = JSON.parse(text) as Report;
    const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
    expect(testResults.map(({ message }) => message).filter(Boolean)).toEqual([]);
    expect(
      tests.flatMap(({ fullName, status, failureMessages }) =>
        status === "passed" ? [] : [`${fullName}: ${status} ${failureMessages.join("\n")}`],
      ),
    ).toEqual([]);
    expect(tests.length, output).toBeGreaterThan(15);
  });
} else {
  describe("the nftables firewall, with flows tracked in the bridge", () => {
    firewallContract({
      name: "nftables",
      make: (options) => new NftablesFirewallDriver(options),
      flush: () => deleteTables("hypervise"),
      isChange: ([command, first]) => command === "nft" && first === "-f",
      decidesForBroadcasts: true,
      reloads: 10,
    });

    it("is what the driver takes where it can", async () => {
      await using lab = await FirewallLab.create(1);
      const firewall = new NftablesFirewallDriver({ groups: lab.groups });
      await lab.filter(firewall, 1, { securityGroups: [] });
      expect(firewall.mode).toBe("bridge");
      await firewall.remove();
    });

    it("agrees with the plain model", async () => {
      const make = (lab: FirewallLab) => new NftablesFirewallDriver({ groups: lab.groups });
      const { packets, passed } = await expectAgreement(make, { worlds: 3, packets: 800, floodsBeginFlows: true });
      expect(packets).toBeGreaterThan(1_200);
      expect(passed).toBeGreaterThan(20);
    });
  });
}
