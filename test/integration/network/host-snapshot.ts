// What a network host may change on its host, to be compared before and after.
import { readFile, readdir } from "node:fs/promises";
import type { NetworkNamespace } from "../../lab/index.js";

export interface HostPlace {
  readonly host: NetworkNamespace;
  /** Where the network host's files are. */
  readonly hostDirectory: string;
}

/** All of the host that a network host may change: devices, addresses, routes, rules, servers, files. */
export async function hostSnapshot(lab: HostPlace): Promise<unknown> {
  const json = async (...words: readonly string[]): Promise<readonly Record<string, unknown>[]> =>
    JSON.parse((await lab.host.run(["ip", "-json", ...words])) || "[]") as readonly Record<string, unknown>[];
  const links = (await json("address", "show")).map(
    ({ ifname, master, mtu, address, flags, ifalias, addr_info: list }) => ({
      ...{ ifname, master, mtu, address, ifalias },
      up: (flags as readonly string[]).includes("UP"),
      addresses: (list as readonly Record<string, unknown>[])
        .filter(({ scope }) => scope !== "link")
        .map(({ local, prefixlen, broadcast, scope }) => ({ local, prefixlen, broadcast, scope }))
        // The first is the one that counts.
        .map((own, index) => `${index === 0 ? 0 : 1} ${JSON.stringify(own)}`)
        .sort(),
    }),
  );
  const routes = [...(await json("-4", "route", "show")), ...(await json("-6", "route", "show"))]
    .filter(({ dst }) => dst !== "fe80::/64")
    .map(({ dst, gateway, dev, prefsrc, metric, scope }) => ({ dst, gateway, dev, prefsrc, metric, scope }));
  const rules = await lab.host.run(["nft", "list", "ruleset"]);
  const servers = (await lab.host.run(["ip", "netns", "pids", lab.host.name])).split("\n").filter(Boolean);
  const commands = await Promise.all(servers.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return {
    links: links.sort((one, other) => String(one.ifname).localeCompare(String(other.ifname))),
    routes: routes.map((route) => JSON.stringify(route)).sort(),
    rules: rules.replace(/mark_[0-9a-f]{16}/g, "mark").replace(/packets \d+ bytes \d+/g, ""),
    // A server has a helper, which starts others for each script that it runs.
    servers: [...new Set(commands.filter((command) => command.startsWith("dnsmasq")))].sort(),
    files: await files(lab.hostDirectory),
  };
}

async function files(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  return Promise.all(
    entries
      .filter((entry) => entry.isFile() && !/^(?:pid|log|leases|lock.*)$/.test(entry.name))
      .map(
        async (entry) =>
          `${entry.parentPath}/${entry.name}: ${await readFile(`${entry.parentPath}/${entry.name}`, "utf8")}`,
      )
      .sort(),
  ).then((list) =>
    list
      // Of a NIC that is gone, until the server has forgotten it.
      .filter((file) => !/: [0-9a-f:]{17},ignore\n$/.test(file))
      .sort(),
  );
}
