/** What an instance may have left on this host: processes, interfaces, sockets, open files, files. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { join, relative } from "node:path";

/** A line for each thing below `directory`, or that has to do with it. `ignored`: names right below it that don't count. */
export async function hostLeftovers(
  directory: string,
  uuid: string,
  ignored: readonly string[],
): Promise<readonly string[]> {
  const parts = [
    processes([directory, uuid]),
    interfaces(),
    sockets(directory),
    openFiles(directory),
    files(directory, ignored),
  ];
  return (await Promise.all(parts)).flat().sort();
}

/** Living processes of which a command-line argument holds one of the texts. */
async function processes(texts: readonly string[]): Promise<readonly string[]> {
  const pids = (await names("/proc")).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const lines = await Promise.all(
    pids.map(async (pid) => {
      const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      const [program = "", ...rest] = commandLine.split("\0");
      return rest.some((argument) => texts.some((text) => argument.includes(text)))
        ? `process ${pid} (${program})`
        : undefined;
    }),
  );
  return lines.filter((line) => line !== undefined);
}

async function interfaces(): Promise<readonly string[]> {
  return (await names("/sys/class/net")).map((name) => `interface ${name}`);
}

async function sockets(directory: string): Promise<readonly string[]> {
  const table = await readFile("/proc/net/unix", "utf8").catch(() => "");
  return table
    .split("\n")
    .map((line) => line.split(/\s+/)[7] ?? "")
    .filter((path) => path.startsWith(`${directory}/`))
    .map((path) => `socket ${relative(directory, path)}`);
}

/** Descriptors of this process: a forgotten one keeps a device or a file alive. */
async function openFiles(directory: string): Promise<readonly string[]> {
  const targets = await Promise.all(
    (await names("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")),
  );
  return targets
    .filter((target) => target.startsWith(`${directory}/`) || /^\/dev\/(net\/tun|kvm|vhost)/.test(target))
    .map((target) => `open file ${target}`);
}

async function files(directory: string, ignored: readonly string[]): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .filter((path) => !ignored.some((name) => path === name || path.startsWith(`${name}/`)))
    .map((path) => `file ${path}`);
}

async function names(directory: string): Promise<readonly string[]> {
  return readdir(directory).catch(() => []);
}
