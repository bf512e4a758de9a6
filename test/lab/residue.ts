// What a driver may leave on a host: a snapshot of it, and the difference between two.
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { findCommand } from "../../scripts/lib/system-packages.mjs";
import { run } from "./run.js";
import { waitFor } from "./wait-for.js";

export interface ResidueScope {
  /** Directories whose files count; nothing outside them is looked at. */
  readonly directories?: readonly string[];
  /** Put before commands to look into another network namespace. */
  readonly prefix?: readonly string[];
  /** Command names (as in /proc/PID/comm, 15 bytes) of processes that count. */
  readonly processes?: RegExp;
}

/** Each line names one thing, such as "interface tap1 (master br0)"; equal snapshots mean that nothing was left. */
export type Residue = ReadonlySet<string>;

/** Processes that the drivers start. */
const PROCESSES = /^(qemu|dnsmasq|virtiofsd|swtpm|nbd|libvirtd|virtlogd|radvd|socat)/;
/** Descriptors of this process that count: a forgotten one keeps a device or a file alive. */
const DESCRIPTORS = /^\/dev\/(net\/tun|tap|kvm|vhost|nbd|loop)/;

export async function collectResidue(scope: ResidueScope = {}): Promise<Residue> {
  const { directories = [], prefix = [], processes = PROCESSES } = scope;
  const parts = await Promise.all([
    collectProcesses(processes),
    collectInterfaces(prefix),
    collectNetfilter(prefix),
    collectFiles(directories),
    collectSockets(prefix, directories),
  ]);
  return new Set([...parts.flat(), ...collectDescriptors(directories), ...collectNamespaces()]);
}

/** What `after` has and `before` had not, as "+ ...", and what it lacks, as "- ...". */
export function residueDifference(before: Residue, after: Residue): string[] {
  const added = [...after].filter((line) => !before.has(line)).map((line) => `+ ${line}`);
  const lost = [...before].filter((line) => !after.has(line)).map((line) => `- ${line}`);
  return [...added, ...lost].sort();
}

/**
 * Waits until the host is as it was. The kernel takes a moment to take a dead process's devices away; more than `timeoutMs`
 * (default 5 000) is a leak.
 *
 * @throws Error that lists the difference.
 */
export async function expectNoResidue(before: Residue, scope: ResidueScope = {}, timeoutMs = 5_000): Promise<void> {
  let difference: string[] = [];
  await waitFor(
    async () => {
      difference = residueDifference(before, await collectResidue(scope));
      return difference.length === 0;
    },
    { timeoutMs, what: "a host as it was before", detail: () => difference.join("\n") },
  );
}

async function collectProcesses(wanted: RegExp): Promise<string[]> {
  const lines: string[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
    const match = stat && /\(([^]*)\) (\S) (?:\S+ ){18}(\d+)/.exec(stat);
    if (!match) continue;
    const [, name = "", state, startTime] = match;
    // A zombie is dead; when it is reaped is its parent's affair.
    if (state === "Z" || state === "X" || !wanted.test(name)) continue;
    lines.push(`process ${name} (pid ${pid}, started at ${startTime})`);
  }
  return lines;
}

interface IpLink {
  readonly ifname?: string;
  readonly master?: string;
}

async function collectInterfaces(prefix: readonly string[]): Promise<string[]> {
  if (!findCommand("ip")) return [];
  const links = JSON.parse(await run([...prefix, "ip", "-j", "link", "show"])) as readonly IpLink[];
  return links.flatMap(({ ifname, master }) =>
    ifname === undefined ? [] : [`interface ${ifname}${master === undefined ? "" : ` (master ${master})`}`],
  );
}

/** All that nft shows, the tables of iptables-nft among it; counters and handles change without anybody's doing, and the two names of the firewall's tables take turns. */
async function collectNetfilter(prefix: readonly string[]): Promise<string[]> {
  if (process.getuid?.() !== 0 || !findCommand("nft")) return [];
  const listing = JSON.parse(await run([...prefix, "nft", "-j", "list", "ruleset"])) as {
    readonly nftables: unknown[];
  };
  const volatile = new Set(["handle", "packets", "bytes", "index"]);
  const seen = new Map<string, number>();
  return listing.nftables
    .map((item) => JSON.stringify(item, (key, value: unknown) => (volatile.has(key) ? undefined : value)))
    .filter((text) => !text.startsWith('{"metainfo"'))
    .map((text) => text.replaceAll(/"(table|name)":"([a-z0-9_]+)\.b"/g, '"$1":"$2"'))
    .map((text) => {
      // Equal rules in one chain are as many lines.
      const count = (seen.get(text) ?? 0) + 1;
      seen.set(text, count);
      return `netfilter ${text}${count > 1 ? ` (${count})` : ""}`;
    });
}

async function collectFiles(directories: readonly string[]): Promise<string[]> {
  const lists = await Promise.all(
    directories.map(async (directory) => {
      const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
      return entries.map(
        (entry) => `${entry.isDirectory() ? "directory" : "file"} ${join(entry.parentPath, entry.name)}`,
      );
    }),
  );
  return lists.flat();
}

/** UNIX sockets that are bound below the directories, also those whose file is deleted. */
async function collectSockets(prefix: readonly string[], directories: readonly string[]): Promise<string[]> {
  const table = await run([...prefix, "cat", "/proc/net/unix"]).catch(() => "");
  const paths = table.split("\n").map((line) => line.split(/\s+/)[7] ?? "");
  return paths
    .filter((path) => directories.some((directory) => path.startsWith(`${directory}/`)))
    .map((path) => `socket ${path}`);
}

function collectDescriptors(directories: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const descriptor of readdirSync("/proc/self/fd")) {
    let target: string;
    try {
      target = readlinkSync(`/proc/self/fd/${descriptor}`);
    } catch {
      continue;
    }
    const counted = DESCRIPTORS.test(target) || directories.some((directory) => target.startsWith(`${directory}/`));
    if (counted) counts.set(target, (counts.get(target) ?? 0) + 1);
  }
  return [...counts].map(([target, count]) => `open file ${target} (${count})`);
}

function collectNamespaces(): string[] {
  try {
    const mounted = readFileSync("/proc/self/mounts", "utf8");
    return readdirSync("/run/netns")
      .filter((name) => mounted.includes(` /run/netns/${name} `))
      .map((name) => `network namespace ${name}`);
  } catch {
    return [];
  }
}
