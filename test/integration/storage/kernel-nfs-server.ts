// An NFS 4.2 server in this kernel, which it tells by itself what others would ask `mountd` for. Whoever uses it has the network and the kernel for himself.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { run } from "../../lab/run.js";

const CONTROL = "/proc/fs/nfsd";
const CACHES = "/proc/net/rpc";
/** As late as the kernel reckons. */
const NEVER = 2_147_483_647;
/** From any port, root as root, files known without their directories, the export by a number. */
const FLAGS = 0x2 | 0x400 | 0x2000;

export class KernelNfsServer implements AsyncDisposable {
  readonly address = "127.0.0.1";
  /** The directory whose content clients see at `/`. */
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Serves a new file system in memory. */
  static async start(directory: string): Promise<KernelNfsServer> {
    const server = new KernelNfsServer(directory);
    await run(["ip", "link", "set", "lo", "up"]);
    await mkdir(directory);
    await run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", directory]);
    if (!(await readFile("/proc/self/mountinfo", "utf8")).includes(` ${CONTROL} `))
      await run(["mount", "-t", "nfsd", "nfsd", CONTROL]);
    for (const version of ["-3", "+4"]) await writeFile(`${CONTROL}/versions`, `${version}\n`);
    await writeFile(`${CONTROL}/portlist`, "tcp 2049\n");
    await writeFile(`${CONTROL}/threads`, "2\n");
    await writeFile(`${CACHES}/auth.unix.ip/channel`, `nfsd ${server.address} ${NEVER} *\n`);
    await writeFile(`${CACHES}/nfsd.export/channel`, `* ${directory} ${NEVER} ${FLAGS} 65534 65534 0\n`);
    await writeFile(`${CACHES}/nfsd.fh/channel`, `* 1 \\x00000000 ${NEVER} ${directory}\n`);
    return server;
  }

  /** No word comes through, in either direction. */
  async fallSilent(): Promise<void> {
    await run(["ip", "link", "set", "lo", "down"]);
  }

  async comeBack(): Promise<void> {
    await run(["ip", "link", "set", "lo", "up"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await writeFile(`${CONTROL}/threads`, "0\n");
    await run(["umount", "-l", this.directory]);
    await rm(this.directory, { recursive: true });
  }
}
