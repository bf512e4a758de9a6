/** libvirt clients in other languages, each a process of its own that is given the same work. */
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const source = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export interface PeerSample {
  /** Microseconds a call. */
  readonly wallUs: number;
  readonly cpuUs: number;
}

/** What is called: the library's version, the host's name, statistics of all domains. */
export type PeerWork = "version" | "hostname" | "stats";

/** Makes `count` calls, `depth` of them at once, over a connection of its own; undefined where the peer lacks the call. */
export type Peer = (uri: string, work: PeerWork, count: number, depth: number) => Promise<PeerSample | undefined>;

/** The peers that can be had here; what is missing is told on standard error. */
export async function libvirtPeers(folder: string): Promise<Readonly<Record<string, Peer>>> {
  const peers: Record<string, Peer> = {};
  const program = join(folder, "libvirt-peer");
  const argv = ["-O2", "-o", program, source("libvirt-peer.c"), "-lvirt", "-lpthread"];
  const built = await run("cc", argv).catch((error: Error) => error);
  if (built instanceof Error) missing("C library (cc and libvirt-dev)", built);
  else peers["libvirt.so"] = peer([program]);
  const python = await run("/usr/bin/python3", ["-c", "import libvirt"]).catch((error: Error) => error);
  if (python instanceof Error) missing("Python (python3-libvirt)", python);
  else peers["python3-libvirt"] = peer(["/usr/bin/python3", source("libvirt-peer.py")]);
  const unraid = await installUnraid(folder).catch((error: Error) => error);
  if (unraid instanceof Error) missing("@unraid/libvirt", unraid);
  else {
    const call = peer([process.execPath, unraid]);
    peers["@unraid/libvirt"] = async (uri, work, count, depth) =>
      work === "hostname" ? call(uri, work, count, depth) : undefined;
  }
  return peers;
}

/** Builds it in a folder of its own, since it is no dependency of ours, and gives the program that uses it there. */
async function installUnraid(folder: string): Promise<string> {
  const directory = join(folder, "unraid");
  mkdirSync(directory);
  writeFileSync(join(directory, "package.json"), '{ "name": "peer", "private": true }');
  const options = { cwd: directory, timeout: 120_000, killSignal: "SIGKILL" as const };
  await run("npm", ["install", "--no-audit", "--no-fund", "--no-save", "@unraid/libvirt@2.2.1"], options);
  const program = join(directory, "unraid-peer.mjs");
  copyFileSync(source("unraid-peer.mjs"), program);
  await run(process.execPath, ["-e", 'import("@unraid/libvirt").then(() => process.exit(0))'], options);
  return program;
}

function peer([file, ...first]: readonly string[]): Peer {
  return async (uri, work, count, depth) => {
    const { stdout } = await run(file as string, [...first, uri, work, String(count), String(depth)]);
    return JSON.parse(stdout) as PeerSample;
  };
}

function missing(what: string, error: Error): void {
  console.error(`no ${what}: ${error.message.split("\n").slice(0, 3).join(" ")}`);
}
