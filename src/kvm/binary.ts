/** The QEMU binary: where it is, what marks this very file, and what it is started with. */
import { constants } from "node:fs";
import { access, realpath, stat } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";
import { HypervisorUnavailableError } from "../driver/index.js";

/** A QEMU binary as a file: other marks mean another binary. */
export interface QemuBinary {
  /** Absolute, without symbolic links. */
  readonly path: string;
  readonly modifiedMs: number;
  readonly sizeBytes: number;
}

/** What Debian and its descendants call the package; other distributions have a name like it. */
const REMEDY = "Install QEMU (on Debian and Ubuntu: apt-get install qemu-system-x86) or set qemuBinary.";

/** The binary that is looked for when none is named. */
export const DEFAULT_QEMU_BINARY = "qemu-system-x86_64";

/**
 * Finds a binary by its path, or by its name in `PATH`.
 * @throws HypervisorUnavailableError when there is none or it may not be executed
 */
export async function findQemu(
  nameOrPath: string,
  searchPath: string = process.env["PATH"] ?? "",
): Promise<QemuBinary> {
  const candidates = nameOrPath.includes("/")
    ? [nameOrPath]
    : searchPath
        .split(delimiter)
        .filter(isAbsolute)
        .map((directory) => join(directory, nameOrPath));
  let denied: unknown;
  for (const candidate of candidates) {
    try {
      return await identify(candidate);
    } catch (error) {
      if (!isAbsent(error)) denied ??= error;
    }
  }
  if (denied === undefined) {
    throw new HypervisorUnavailableError("QEMU is not installed on this host", {
      retryable: false,
      detail: nameOrPath,
      remedy: REMEDY,
    });
  }
  throw new HypervisorUnavailableError("QEMU may not be executed", {
    retryable: false,
    detail: nameOrPath,
    cause: denied,
  });
}

/** The error for a binary that was found and could not be started. */
export function spawnFailed(binary: string, cause: unknown): HypervisorUnavailableError {
  const gone = isAbsent(cause);
  return new HypervisorUnavailableError(
    gone ? "QEMU is not installed on this host any more" : "QEMU could not be started",
    {
      retryable: !gone,
      detail: binary,
      cause,
      ...(gone ? { remedy: REMEDY } : {}),
    },
  );
}

/** What QEMU sees of this process's environment: nothing that an embedder may keep secrets in. */
export function qemuEnvironment(): Record<string, string> {
  const passed = ["PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR"].flatMap((name): [string, string][] => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  });
  return { ...Object.fromEntries(passed), LC_ALL: "C" };
}

async function identify(candidate: string): Promise<QemuBinary> {
  const path = await realpath(candidate);
  const { mtimeMs, size } = await stat(path).then(async (stats) => {
    if (!stats.isFile()) throw Object.assign(new Error("not a file"), { code: "EACCES" });
    await access(path, constants.X_OK);
    return stats;
  });
  return { path, modifiedMs: Math.trunc(mtimeMs), sizeBytes: size };
}

function isAbsent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}
