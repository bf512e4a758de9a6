// A VLAN for each project over one cable between two hosts, on a kernel that has VLANs, whatever the machine's own has.
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { requirePackages } from "../../lab/index.js";
import { bundleScript } from "../../lab/bundle-script.js";
import { fileServer, runInHostGuest } from "../../lab/host-guest.js";

const MODULES = [
  ...["8021q", "bridge", "veth", "nf_conntrack_netlink", "nft_ct", "nft_objref", "nft_meta_bridge"],
  ...["nft_chain_nat", "nft_nat", "nft_masq", "nft_redir"],
];

it("gives each project a VLAN that reaches over hosts, and takes it back", async () => {
  requirePackages("qemu-system-x86_64", "ip", "nft", "dnsmasq", "udhcpc", "sysctl");
  expect(await fileServer(), "virtiofsd, of qemu-system-common or a package of its own").toBeDefined();
  await using script = await bundleScript(fileURLToPath(new URL("vlan-manager-child.ts", import.meta.url)));
  const { output } = await runInHostGuest({
    modules: MODULES,
    env: { HYPERVISE_SANDBOX: "root" },
    script: `'${process.execPath}' '${script.path}'`,
    timeoutMs: 600_000,
  });
  const json = /^RESULT (\{.*\})$/m.exec(output)?.[1];
  expect(json, output.slice(-4_000)).toBeDefined();
  expect(JSON.parse(json ?? "")).toEqual({
    asAllocated: true,
    owners: ["p1 one", "p2 two"],
    vlans: ["100 br100", "101 br101"],
    devices: [true, true],
    acrossHosts: true,
    betweenProjects: false,
    left: [false, false],
  });
}, 720_000);
