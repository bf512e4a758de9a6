import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemorySecurityGroupSource, NwfilterFirewallDriver, nwfilterReference } from "../../../src/firewall/index.js";
import type { FilteredPort } from "../../../src/firewall/index.js";
import type { CommandRunner } from "../../../src/host/index.js";
import { LibvirtClient } from "../../../src/libvirt/rpc/index.js";
import { formatDomainXml, interfaceXml } from "../../../src/libvirt/xml/index.js";
import { requirePackages, run } from "../../lab/index.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../lab/libvirtd.js";
import { temporaryDirectory } from "../../lab/temporary-directory.js";
import { expectAgreement } from "./agreement.js";
import { firewallContract } from "./contract.js";
import { FirewallLab } from "./firewall-lab.js";

const SCHEMA = "/usr/share/libvirt/schemas/nwfilter.rng";

/** A client whose calls that change something are carried out only if a command succeeds. */
function refusing(libvirt: LibvirtClient, commands: CommandRunner): LibvirtClient {
  return new Proxy(libvirt, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      const isChange = typeof name === "string" && /^(define|create|lookup)/.test(name);
      return async (...args: unknown[]): Promise<unknown> => {
        if (isChange) await commands.run(["true"]);
        return Reflect.apply(value, target, args) as unknown;
      };
    },
  });
}

/** The most telling tests, or the others: a change takes libvirt seconds. */
export function nwfilterTests(part: "telling" | "others"): void {
  let daemon: LabLibvirtd;
  let client: LibvirtClient;
  let flushes = 0;

  beforeAll(async () => {
    requirePackages("libvirtd", "iptables", "nft", "xmllint", "conntrack", "ip");
    daemon = await startLibvirtd();
    client = await LibvirtClient.open(daemon.uri("qemu"));
  });

  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
    // Which libvirt's tools have made, and nobody takes out.
    for (const table of ["ip filter", "ip6 filter", "bridge nat"])
      await run(["nft", "delete", "table", ...table.split(" ")]).catch(() => "");
  });

  describe("the nwfilter firewall", () => {
    firewallContract({
      name: "nwfilter",
      make: ({ commands, ...options }) =>
        new NwfilterFirewallDriver({
          ...options,
          ...(commands === undefined ? {} : { commands }),
          libvirt: commands === undefined ? client : refusing(client, commands),
        }),
      // First by libvirt, which the driver notices, then behind its back.
      async flush() {
        const bindings = flushes++ % 2 === 0 ? await client.listAllNwFilterBindings() : [];
        for (const binding of bindings) await binding.delete();
        if (bindings.length > 0) return;
        for (const command of ["iptables", "ip6tables"]) await run([command, "-w", "-F"]);
        await run(["ebtables", "-t", "nat", "-F"]);
      },
      isChange: ([command]) => command === "true",
      readsAdvertisements: false,
      onlyBridged: true,
      decidesForBroadcasts: true,
      inOneStep: true,
      part,
      reloads: 2,
    });

    if (part === "telling") {
      it("writes what libvirt's schema holds, but for two attributes that it has forgotten", async () => {
        const groups = new MemorySecurityGroupSource();
        const rules = (["ingress", "egress"] as const).flatMap((direction) =>
          ([4, 6] as const).flatMap((ipVersion) => [
            { direction, ipVersion },
            ...(["tcp", "udp", "sctp"] as const).map(
              (protocol) => ({ direction, ipVersion, protocol, portFrom: 80, portTo: 90 }) as const,
            ),
            ...(["dccp", "udplite", 2, 47, 50, 51] as const).map(
              (protocol) => ({ direction, ipVersion, protocol }) as const,
            ),
            { direction, ipVersion, protocol: "icmp", icmpType: 3, icmpCode: 1 } as const,
            { direction, ipVersion, remote: { cidr: ipVersion === 4 ? "192.0.2.0/24" : "2001:db8::/32" } },
            { direction, ipVersion, protocol: "tcp", remote: { groupId: "peers" } } as const,
          ]),
        );
        groups.setGroup({ id: "all", rules, egress: "rules" });
        groups.setMember("m", { addresses: ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"] }, ["peers"]);
        const firewall = new NwfilterFirewallDriver({ groups, libvirt: client, allowSameNetwork: true });
        const text = await firewall.plan({
          uuid: "00000000-0000-4000-8000-000000000001",
          name: "web1",
          ports: [
            {
              id: "p",
              macAddress: "52:54:00:00:00:01",
              deviceName: "tap0",
              fixedIps: [{ address: "10.0.0.5" }, { address: "fd00::5" }],
              allowedAddressPairs: [{ address: "10.1.0.0/16", macAddress: "52:54:00:00:00:02" }],
              subnets: [
                { cidr: "10.0.0.0/24", dhcpServer: "10.0.0.2" },
                { cidr: "fd00::/64", dhcpServer: "fd00::2" },
              ],
              securityGroups: ["all"],
            },
          ],
        });
        await using directory = await temporaryDirectory();
        const documents = text.split(/(?<=<\/filter>|<filter [^>]*\/>)\n/).filter((document) => document !== "");
        const files = await Promise.all(
          documents.map(async (document, index) => {
            const file = directory.file(`${index}.xml`);
            const known = document.replace(/(<[a-z-]*v6\b[^>]*?) state="[^"]*"/g, "$1");
            await writeFile(file, known.replace(/ arpsrcipmask="[^"]*"/g, ""));
            return file;
          }),
        );
        expect(files.length).toBeGreaterThan(20);
        await run(["xmllint", "--noout", "--relaxng", SCHEMA, ...files]);
      });

      it("filters the interface of a domain that refers to it, while it runs", async () => {
        await using lab = await FirewallLab.create(1);
        await using firewall = new NwfilterFirewallDriver({
          groups: lab.groups,
          libvirt: daemon.uri("qemu"),
          bindings: "domain",
          timeouts: { inUseMs: 200 },
        });
        const instance = lab.instance(1, { deviceName: "hvdomain0", securityGroups: ["web"] });
        await firewall.setupBasicFiltering(instance);
        await firewall.prepareInstanceFilter(instance);
        const reference = nwfilterReference(instance, instance.ports[0] as FilteredPort);
        const domain = await client.createDomainXml(
          formatDomainXml({
            type: "qemu",
            name: instance.name,
            memory: { $text: 16, unit: "MiB" },
            os: { type: { $text: "hvm", arch: "x86_64", machine: "q35" } },
            devices: {
              interface: [
                interfaceXml({
                  source: { bridge: lab.bridge.name },
                  mac: lab.host(1).mac,
                  target: "hvdomain0",
                  filter: reference,
                }),
              ],
            },
          }),
          { flags: ["startPaused"] },
        );
        const rules = (): Promise<string> => run(["iptables", "-w", "-S", "FO-hvdomain0"]);
        try {
          expect((await client.listAllNwFilterBindings()).map(({ portdev }) => portdev)).toEqual(["hvdomain0"]);
          lab.group("web", [{ direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 80 }]);
          await firewall.refreshSecurityGroupRules("web");
          expect(await rules()).not.toContain("--dport 80");
          await firewall.applyInstanceFilter(instance);
          expect(await rules()).toContain("--dport 80");
          await expect(firewall.unfilterInstance(instance)).rejects.toMatchObject({ code: "BUSY" });
          expect(await rules()).toContain("--dport 80");
        } finally {
          await domain.destroy();
        }
        await firewall.unfilterInstance(instance);
        expect((await client.listAllNwFilters()).map(({ name }) => name)).not.toContain(reference?.name);
        await firewall.remove();
      });
    } else {
      it("agrees with the plain model", async () => {
        const make = (lab: FirewallLab) => new NwfilterFirewallDriver({ groups: lab.groups, libvirt: client });
        const { packets, passed } = await expectAgreement(make, {
          worlds: 3,
          packets: 1_200,
          inOneStep: true,
          floodsBeginFlows: true,
        });
        expect(packets).toBeGreaterThan(2_000);
        expect(passed).toBeGreaterThan(20);
      });
    }
  });
}
