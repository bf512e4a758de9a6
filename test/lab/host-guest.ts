// A test guest whose root is this machine's own: its kernel has what this one may lack, and everything else is the same. Nothing that is
// written there comes back; what a program says there does.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { guestCache } from "../../scripts/guest/build.mjs";
import { cpioArchive } from "../../scripts/guest/cpio.mjs";
import { DebianPackages, unpackPackages } from "../../scripts/guest/debian-packages.mjs";
import { modulesDep, selectModules } from "../../scripts/guest/kernel-modules.mjs";
import { silentLog } from "../../scripts/lib/progress.mjs";
import { findCommand } from "../../scripts/lib/system-packages.mjs";
import { testGuest } from "./guest.js";
import type { LabGuest } from "./guest.js";
import { LabMachine } from "./machine.js";
import { temporaryDirectory } from "./temporary-directory.js";
import { waitForFile } from "./wait-for.js";

export interface HostGuestOptions {
  /** Kernel modules to load, with what they need. */
  readonly modules: readonly string[];
  /** Run as root by `sh`, in this process's working directory. */
  readonly script: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Default 1,536. */
  readonly memoryMiB?: number;
  readonly timeoutMs: number;
}

export interface HostGuestResult {
  readonly exitCode: number;
  /** What the script has written to standard output and standard error. */
  readonly output: string;
}

const FILE_SERVERS = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd"];

/** The program that shares this machine's files with a guest; undefined where there is none. */
export async function fileServer(): Promise<string | undefined> {
  for (const path of FILE_SERVERS)
    if (
      await readFile(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  return findCommand("virtiofsd");
}

/** Boots the guest, runs the script in it, and powers it off. @throws Error when it does not come to its end. */
export async function runInHostGuest(options: HostGuestOptions): Promise<HostGuestResult> {
  const { modules, script, env = {}, memoryMiB = 1_536, timeoutMs } = options;
  const server = await fileServer();
  if (server === undefined) throw new Error("there is no virtiofsd here");
  await using directory = await temporaryDirectory();
  const guest = await testGuest();
  const initrd = directory.file("initrd.gz");
  const files = [
    ...(await moduleFiles(guest, modules)),
    { path: "etc/hypervise/run", content: runScript() },
    { path: "etc/hypervise/script", content: wholeScript(script, env) },
  ].map((file) => ({ ...file, type: "file" as const, mode: 0o755 }));
  await writeFile(initrd, Buffer.concat([await readFile(guest.initrd), gzipSync(cpioArchive(files), { level: 1 })]));

  const socket = directory.file("files");
  const sharing = spawn(server, [`--socket-path=${socket}`, ...sourceArguments(server)], { stdio: "ignore" });
  const ended = once(sharing, "exit");
  try {
    await waitForFile(socket, { what: "the file server's socket" });
    await using machine = await LabMachine.start({
      machine: "q35,memory-backend=mem0",
      memoryMiB,
      kernel: { kernel: guest.kernel, initrd, kernelArguments: guest.kernelArguments },
      append: "hv.poweroff hv.nowait",
      agent: false,
      arguments: [
        ...["-cpu", "max", "-smp", "2"],
        ...["-object", `memory-backend-memfd,id=mem0,size=${memoryMiB}M,share=on`],
        ...["-chardev", `socket,id=files0,path=${socket}`],
        ...["-device", "vhost-user-fs-pci,queue-size=1024,chardev=files0,tag=hostroot"],
      ],
    });
    const [, output = "", code = ""] = await machine.waitForSerial(/HV-SCRIPT-BEGIN\r?\n([^]*)HV-SCRIPT-END (\d+)/, {
      timeoutMs,
    });
    return { exitCode: Number(code), output: output.replaceAll("\r", "").replace(/^\[ *\d+\.\d+\] .*\n/gm, "") };
  } finally {
    if (sharing.exitCode === null && sharing.signalCode === null) sharing.kill("SIGKILL");
    await ended;
  }
}

/** QEMU's own server and the one that came after it take their options in different ways. */
function sourceArguments(server: string): readonly string[] {
  return server === "/usr/lib/qemu/virtiofsd"
    ? ["-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot", "-f"]
    : ["--shared-dir=/", "--cache=always", "--sandbox=chroot"];
}

/** Those that the guest's initramfs does not have: out of the package that its kernel came from. In the order in which they load. */
async function moduleFiles(
  guest: LabGuest,
  names: readonly string[],
): Promise<readonly { readonly path: string; readonly content: Buffer }[]> {
  const { packages } = JSON.parse(await readFile(join(guest.directory, "guest.json"), "utf8")) as {
    readonly packages: Readonly<Record<string, string>>;
  };
  const { packages: directory, aptState: state } = guestCache();
  const archive = new DebianPackages({ directory, state, log: silentLog });
  const records = Object.entries(packages)
    .filter(([name]) => /^linux-(image|modules)-/.test(name))
    .map(([name, version]) => ({ name, version, depends: [] }));
  await using work = await temporaryDirectory();
  await unpackPackages((await archive.download(records)).values(), work.path);
  const base = ["lib/modules", "usr/lib/modules"].map((path) => join(work.path, path, guest.kernelVersion));
  const trees = await Promise.all(base.map(async (path) => ((await exists(path)) ? [path] : [])));
  const [tree] = trees.flat();
  if (tree === undefined) throw new Error(`the kernel package has no modules for ${guest.kernelVersion}`);
  const { modules, absent } = await selectModules(tree, names, (path) => {
    throw new Error(`${path} is compressed`);
  });
  if (absent.length > 0) throw new Error(`the test guest's kernel has no ${absent.join(", ")}`);
  return loadingOrder(modules).map(({ name, content }, index) => ({
    path: `etc/hypervise/modules/${String(index).padStart(3, "0")}-${name}.ko`,
    content,
  }));
}

type Module = Awaited<ReturnType<typeof selectModules>>["modules"][number];

function loadingOrder(modules: readonly Module[]): readonly Module[] {
  const byPath = new Map(modules.map((module) => [module.path, module]));
  const ordered = new Set<Module>();
  for (const line of modulesDep(modules).split("\n").filter(Boolean)) {
    const [own = "", needed = ""] = line.split(":");
    for (const path of [...needed.split(" ").filter(Boolean).reverse(), own]) {
      const module = byPath.get(path);
      if (module !== undefined) ordered.add(module);
    }
  }
  return [...ordered];
}

async function exists(path: string): Promise<boolean> {
  return readdir(path).then(
    () => true,
    () => false,
  );
}

/** In the initramfs: this machine's root below, memory above it. */
function runScript(): string {
  return `#!/bin/sh
modprobe -a virtiofs overlay
for module in /etc/hypervise/modules/*.ko; do insmod "$module" 2> /dev/null; done
mkdir -p /host /rw /new
mount -t virtiofs -o ro hostroot /host || exit 90
mount -t tmpfs -o size=60% tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /new || exit 91
mount --rbind /dev /new/dev
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t tmpfs run /new/run
mkdir -p /new/run/lock /new/run/netns /new/run/tmp
cp /etc/hypervise/script /new/run/script
hv-log HV-SCRIPT-BEGIN
chroot /new /bin/sh /run/script
hv-log "HV-SCRIPT-END $?"
`;
}

function wholeScript(script: string, env: Readonly<Record<string, string>>): string {
  const all = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/root",
    TMPDIR: "/run/tmp",
    ...env,
  };
  const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const exports = Object.entries(all).map(([name, value]) => `export ${name}=${quoted(value)}\n`);
  return `${exports.join("")}cd ${quoted(process.cwd())} || exit 92\nexec 2>&1\n${script}\n`;
}
