/** QMP clients in other languages, each a process of its own that is given the same work. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const source = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export interface PeerSample {
  /** Microseconds an operation. */
  readonly wallUs: number;
  readonly cpuUs: number;
}

/** Executes a command `count` times, `depth` of them in flight, on a server of its own connection. */
export type Peer = (path: string, command: string, count: number, depth: number) => Promise<PeerSample>;

/** The peers that can be had here; a C compiler or Python that is missing is told on standard error. */
export async function qmpPeers(folder: string): Promise<Readonly<Record<string, Peer>>> {
  const peers: Record<string, Peer> = {};
  const program = join(folder, "qmp-peer");
  const built = await run("cc", ["-O2", "-o", program, source("qmp-peer.c")]).catch((error: Error) => error);
  if (built instanceof Error) console.error(`no C peer: ${built.message}`);
  else peers["c"] = peer([program]);
  const python = await run("python3", ["--version"]).catch((error: Error) => error);
  if (python instanceof Error) console.error(`no Python peer: ${python.message}`);
  else peers["python"] = peer(["python3", source("qmp-peer.py")]);
  return peers;
}

function peer([file, ...first]: readonly string[]): Peer {
  return async (path, command, count, depth) => {
    const { stdout } = await run(file as string, [...first, path, command, String(count), String(depth)]);
    return JSON.parse(stdout) as PeerSample;
  };
}
