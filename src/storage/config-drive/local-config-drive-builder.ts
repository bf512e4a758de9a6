/** Config drives made by the programs of this host. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { chmod, mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { check, InvalidArgumentError, Secret, throwIfAborted } from "../../core/index.js";
import { systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import type { BuildConfigDriveRequest, ConfigDriveBuilder, ConfigDriveImage } from "./config-drive-builder.js";
import { CONFIG_DRIVE_LABELS, configDriveFiles } from "./config-drive-files.js";
import type { DiskSource } from "../disks/disk-source.js";
import { StorageError } from "../errors.js";
import type { TransferOptions } from "../images/image-store.js";
import { ImagePrograms } from "./image-programs.js";
import type { ImageProgramLimits } from "./image-programs.js";
import { storageFailure } from "../storage-failure.js";
import { writeFiles } from "./write-files.js";
import { writeSparse } from "../write-sparse.js";

export interface LocalConfigDriveBuilderOptions {
  /** Runs `xorriso`, `genisoimage` or `mkisofs`; `mkfs.vfat` and `mcopy`. Default: the system's runner. */
  readonly commands?: CommandRunner;
  readonly limits?: Partial<ImageProgramLimits>;
}

/** Size of every FAT drive, as Nova makes them. */
const FAT_BYTES = 64 * 1024 * 1024;
const SECTOR = 512;
/** No drive is larger: files of 48 MiB, and what an ISO needs beside them. */
const MAX_IMAGE_BYTES = 128 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;

const checkDirectory = check.absolutePath();
const [pack, unpack] = [promisify(gzip), promisify(gunzip)];

/** The image has mode 0600, and so has everything on the way to it, in a directory of mode 0700. */
export class LocalConfigDriveBuilder implements ConfigDriveBuilder {
  readonly #programs: ImagePrograms;

  constructor({ commands = systemCommandRunner, limits }: LocalConfigDriveBuilderOptions = {}) {
    this.#programs = new ImagePrograms(commands, limits);
  }

  async build(request: BuildConfigDriveRequest, options: TransferOptions = {}): Promise<ConfigDriveImage> {
    const { format, content } = request;
    const files = configDriveFiles(content);
    const label = CONFIG_DRIVE_LABELS[content.layout];
    return inDirectory(request.directory, options, async (path, directory) => {
      const tree = join(directory, "files");
      await writeFiles(tree, files, options.signal);
      if (format === "iso") {
        await this.#programs.writeIso(tree, label, path, options);
      } else {
        await allocate(path, FAT_BYTES);
        const entries = (await readdir(tree)).sort().map((name) => join(tree, name));
        await this.#programs.writeFat(entries, label, path, options);
      }
      await rm(tree, { recursive: true });
    });
  }

  async pack(source: DiskSource, { signal }: TransferOptions = {}): Promise<string> {
    if (source.type !== "file" && source.type !== "block")
      throw new StorageError("a config drive is read where it lies, not over the network");
    try {
      const bytes = await readAll(source.path, signal);
      return (await pack(bytes, { level: 1 })).toString("base64");
    } catch (error) {
      throw await storageFailure(error, "reading the config drive", dirname(source.path));
    }
  }

  async unpack(packed: string, directory: string, options: TransferOptions = {}): Promise<ConfigDriveImage> {
    const bytes = await unpack(Buffer.from(packed, "base64"), { maxOutputLength: MAX_IMAGE_BYTES }).catch(
      (cause: unknown) => {
        throw new InvalidArgumentError({
          field: "packed",
          value: Secret.of("a config drive"),
          expected: `a config drive of at most ${MAX_IMAGE_BYTES} bytes, as it was packed`,
          cause,
        });
      },
    );
    return inDirectory(directory, options, async (path) => {
      const file = await open(path, "wx", 0o600);
      try {
        await file.truncate(bytes.length);
        await writeSparse(file, bytes, 0);
      } finally {
        await file.close();
      }
    });
  }

  randomBytes(length: number): Uint8Array {
    return randomBytes(length);
  }
}

/** Makes the directory and the image in it, which is whole sectors and on stable storage when this resolves. */
async function inDirectory(
  given: string,
  { signal }: TransferOptions,
  write: (path: string, directory: string) => Promise<void>,
): Promise<ConfigDriveImage> {
  const directory = checkDirectory(given, "directory");
  const path = join(directory, "image");
  throwIfAborted(signal);
  try {
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { mode: 0o700 });
    await write(path, directory);
    await chmod(path, 0o600);
    const { size } = await stat(path);
    const sizeBytes = Math.ceil(size / SECTOR) * SECTOR;
    const file = await open(path, "r+");
    try {
      if (sizeBytes > size) await file.truncate(sizeBytes);
      await file.sync();
    } finally {
      await file.close();
    }
    return { path, sizeBytes };
  } catch (error) {
    throw await storageFailure(error, "making the config drive", directory);
  }
}

async function allocate(path: string, bytes: number): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.truncate(bytes);
  } finally {
    await file.close();
  }
}

async function readAll(path: string, signal: AbortSignal | undefined): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY);
  try {
    const chunks: Buffer[] = [];
    for (let at = 0; at <= MAX_IMAGE_BYTES;) {
      throwIfAborted(signal);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, at);
      if (bytesRead === 0) return Buffer.concat(chunks);
      chunks.push(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    throw new StorageError("the config drive is larger than any that is made");
  } finally {
    await file.close();
  }
}
