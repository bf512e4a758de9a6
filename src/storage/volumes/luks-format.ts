/** LUKS headers: made, looked at, grown past and given other keys, through `qemu-img`; keys never stand on a command line. */
import { constants } from "node:fs";
import { lstat, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { ConflictError, InvalidArgumentError, NotSupportedError, check, isHyperviseError } from "../../core/index.js";
import type { ErrorContext, JsonObject } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import type { DiskEncryption, DiskSource } from "../disks/disk-source.js";
import { isLocalSource } from "../disks/disk-source.js";
import { diskObjectId, optionText, protocolOptions } from "../disks/qemu-source.js";
import { INSPECTED, SourceInspector, formatOptions } from "../disks/source-inspector.js";
import { diskSourceCheck, secretIdCheck } from "../disks/validate-disk-source.js";
import { StorageError } from "../errors.js";
import type { TransferOptions } from "../images/image-store.js";
import type { QemuImgLimits } from "../qemu-img.js";
import type { SecretStore } from "../secret-store.js";
import { errnoOf, hasRoomFor, storageFailure, throwUnless } from "../storage-failure.js";

/** A source that says how it is encrypted. */
export type EncryptedSource = DiskSource & { readonly encryption: DiskEncryption };

export interface LuksFormatOptions {
  /** Where the passphrases are. */
  readonly secrets: SecretStore;
  /** Default: the system's runner. */
  readonly commands?: CommandRunner;
  readonly limits?: Partial<QemuImgLimits>;
}

export interface FormatLuksRequest {
  /** What the file takes in all, of a raw one with its header; needed where there is no file yet, refused where there is one. Of a qcow2 file: what a guest sees. */
  readonly sizeBytes?: number;
  /** Also where there is a LUKS header already: what is there can't be read any more. Default false. */
  readonly overwrite?: boolean;
  /** How long a guess at the passphrase is made to take, in milliseconds: 10 to 60000. Default: QEMU's, 2000. */
  readonly iterationMs?: number;
}

/** `LUKS`, 0xba, 0xbe, and the version. */
const MAGIC = Buffer.from([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]);
/** LUKS 1: a header of 4 KiB, and 8 slots of 4000 stripes of a key of 64 bytes, each rounded up to 4 KiB. */
const HEADER_BYTES = 4096 + 8 * Math.ceil((4000 * 64) / 4096) * 4096;
/** What a file that the header is to be in takes at once, more or less: QEMU removes one that it could not finish before anybody can see that its disk is full. */
const NEW_FILE_BYTES = HEADER_BYTES + 1_048_576;
/** Where the header says after how many sectors of 512 bytes what it hides begins. */
const PAYLOAD_FIELD = 104;
/** Slow enough for {@link measured} to succeed mostly at once. */
const HASH = "sha512";
const MEASURES = 6;
const NEW_KEY = `${INSPECTED}-new`;

const requestCheck = check.object({
  sizeBytes: check.optional(check.integer({ min: 512, max: Number.MAX_SAFE_INTEGER })),
  overwrite: check.optional(check.boolean()),
  iterationMs: check.optional(check.integer({ min: 10, max: 60_000 })),
});

/**
 * Prepares volumes for `encryption: { format: "luks" }`, and looks after their keys. A volume that a guest has open is not for it: `qemu-img` is refused by
 * QEMU's locks then.
 */
export class LuksFormat {
  readonly #inspector: SourceInspector;

  constructor({ secrets, commands, limits }: LuksFormatOptions) {
    this.#inspector = new SourceInspector({
      secrets,
      ...(commands === undefined ? {} : { commands }),
      ...(limits === undefined ? {} : { limits }),
    });
  }

  /** Whether a raw file or block device begins with a LUKS header, of version 1 or 2. QEMU reads those of version 1. @throws StorageError when it can't be read */
  async isLuks(path: string): Promise<boolean> {
    check.absolutePath()(path, "path");
    try {
      const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        const header = Buffer.alloc(8);
        const { bytesRead } = await file.read(header, 0, header.length, 0);
        const version = header.readUInt16BE(6);
        return bytesRead === header.length && header.subarray(0, 6).equals(MAGIC) && (version === 1 || version === 2);
      } finally {
        await file.close();
      }
    } catch (error) {
      throw await storageFailure(error, "reading the volume's header", dirname(path));
    }
  }

  /**
   * Makes an encrypted volume, with one key. A file that is not there is made, sparse, of mode 0600; of a volume that is there the header is written, and what was in it
   * can't be read any more.
   * @returns the bytes that a guest will see
   * @throws InvalidArgumentError; ConflictError where there is a LUKS header; SecretNotFoundError; DiskFullError, StorageError. A file that was not there is then not there
   */
  async format(
    source: EncryptedSource,
    request: FormatLuksRequest = {},
    options: TransferOptions = {},
  ): Promise<number> {
    const { encryption } = checkEncrypted(source);
    const { sizeBytes, overwrite = false, iterationMs } = requestCheck(request, "request");
    const present = source.type !== "file" || (await isThere(source.path));
    if ((sizeBytes === undefined) !== present)
      throw new InvalidArgumentError({
        field: "request.sizeBytes",
        value: sizeBytes,
        expected: present ? "nothing: the volume is there, and has a size" : "a size for the new file",
      });
    if (source.format === "qcow2" && present)
      throw new ConflictError("there is a file already; a qcow2 file is encrypted when it is made", {
        device: encryption.secretId,
      });
    if (present && isLocalSource(source) && !overwrite && (await this.isLuks(source.path)))
      throw new ConflictError("the volume has a LUKS header already", {
        remedy: "say overwrite to lose what is in it",
      });
    if (sizeBytes !== undefined && source.type === "file")
      return this.#explained("making the encrypted file", source, () =>
        this.#make(source, source.path, sizeBytes, iterationMs, options),
      );
    return this.#explained("writing the volume's LUKS header", source, () =>
      this.#writeHeader(source, iterationMs, options),
    );
  }

  /** @returns the bytes that a guest sees. @throws DiskKeyError when the volume's key does not open it; SecretNotFoundError, StorageError */
  async requireKey(source: EncryptedSource, options: TransferOptions & ErrorContext = {}): Promise<number> {
    checkEncrypted(source);
    return this.#explained("reading the volume", source, async () => {
      await this.#inspector.requireKey(source, options);
      return this.#inspector.guestBytes(source, options);
    });
  }

  /**
   * Makes a raw file larger. The header stays in its place and size.
   * @param sizeBytes what the file is to take in all
   * @returns the bytes that a guest will see
   * @throws InvalidArgumentError when it would shrink or is no raw file; DiskKeyError, SecretNotFoundError, DiskFullError, StorageError
   */
  async grow(source: EncryptedSource, sizeBytes: number, options: TransferOptions = {}): Promise<number> {
    checkEncrypted(source);
    if (source.type !== "file" || source.format !== "raw")
      throw new InvalidArgumentError({
        field: "source.type",
        value: `${source.type} ${source.format}`,
        expected: "a raw file: others are made larger where they are kept",
      });
    const { path } = source;
    return this.#explained("growing the volume", source, async () => {
      const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
      try {
        const { size } = await file.stat();
        check.integer({ min: size })(sizeBytes, "sizeBytes");
        await file.truncate(sizeBytes);
        await file.sync();
      } finally {
        await file.close();
      }
      return this.#inspector.guestBytes(source, options);
    });
  }

  /**
   * Gives a volume that no guest has open the key of another secret, and takes away the old one: both open it in between. Repeatable: after a failure the old one
   * opens the volume, the new one may.
   * @returns the source as it is to be opened from then on
   * @throws DiskKeyError when neither key opens it; SecretNotFoundError, StorageError
   */
  async changeKey<S extends EncryptedSource>(
    source: S,
    secretId: string,
    request: Pick<FormatLuksRequest, "iterationMs"> = {},
    options: TransferOptions = {},
  ): Promise<S> {
    const { encryption } = checkEncrypted(source);
    const { iterationMs } = requestCheck(request, "request");
    secretIdCheck(secretId, "secretId");
    const changed: S = { ...source, encryption: { ...encryption, secretId } };
    if (secretId === encryption.secretId) return source;
    const opens = (one: EncryptedSource): Promise<boolean> =>
      this.#inspector.requireKey(one, options).then(() => true, refusal);
    return this.#explained("changing the volume's key", source, async () => {
      if (!(await opens(changed))) {
        await this.#inspector.requireKey(source, options);
        const slots = { state: "active", "new-secret": NEW_KEY, ...iterations(iterationMs) };
        await this.#amend(source, slots, secretId, options);
      }
      if (await opens(source))
        await this.#amend(changed, { state: "inactive", "old-secret": NEW_KEY }, encryption.secretId, options);
      return changed;
    });
  }

  async #make(
    source: EncryptedSource,
    path: string,
    sizeBytes: number,
    iterationMs: number | undefined,
    options: TransferOptions,
  ): Promise<number> {
    const raw = source.format === "raw";
    const size = raw ? sizeBytes - HEADER_BYTES : sizeBytes;
    if (size < 512)
      throw new InvalidArgumentError({
        field: "request.sizeBytes",
        value: sizeBytes,
        expected: "more than the header",
      });
    const key = { "key-secret": diskObjectId(INSPECTED, "luks"), "hash-alg": HASH, ...iterations(iterationMs) };
    const settings = raw ? key : prefixed("encrypt", { format: "luks", ...key });
    const words = ["create", "-q", "-f", raw ? "luks" : source.format, "-o", optionText(settings), path, String(size)];
    // Before it holds anything, nobody else can read it.
    await (await open(path, "wx", 0o600)).close();
    try {
      const hasRoom = (): Promise<boolean> => hasRoomFor(dirname(path), NEW_FILE_BYTES);
      await measured(() => this.#inspector.run(source, words, "copy", options), hasRoom);
      if (raw) await requireHeaderSize(path);
    } catch (error) {
      const failure = await storageFailure(error, "making the encrypted file", dirname(path), {}, NEW_FILE_BYTES);
      await rm(path, { force: true });
      throw failure;
    }
    return size;
  }

  /** A header for the volume's size is made in a file, and copied: the same for every place that a volume may be kept in. */
  async #writeHeader(
    source: EncryptedSource,
    iterationMs: number | undefined,
    options: TransferOptions,
  ): Promise<number> {
    const sizeBytes = await this.#inspector.storedBytes(source, options);
    const directory = await mkdtemp(join(tmpdir(), "luks-"));
    try {
      const path = join(directory, "header");
      const guestBytes = await this.#make(source, path, sizeBytes, iterationMs, options);
      const target = optionText({ driver: "raw", file: protocolOptions(INSPECTED, source) });
      // What the volume held stays where it is, and reads as noise.
      const words = ["convert", "-n", "--target-is-zero", "-f", "raw", "--target-image-opts", path, target];
      await this.#inspector.run(source, words, "copy", options);
      return guestBytes;
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  async #amend(source: EncryptedSource, slots: JsonObject, secretId: string, options: TransferOptions): Promise<void> {
    const settings = source.format === "qcow2" ? prefixed("encrypt", slots) : slots;
    const place = optionText(formatOptions(source));
    const words = ["amend", "-q", "-o", optionText(settings), "--image-opts", place];
    const key = { type: "secret", id: NEW_KEY, secretId, format: "raw" } as const;
    await measured(() => this.#inspector.run(source, words, "copy", options, [key]));
  }

  async #explained<T>(doing: string, source: EncryptedSource, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      if (isLocalSource(source)) throw await storageFailure(error, doing, dirname(source.path));
      if (errnoOf(error) === undefined && !isHyperviseError(error, "COMMAND_FAILED")) throw error;
      throw new StorageError(`${doing} failed`, { cause: error });
    }
  }
}

function checkEncrypted(given: DiskSource): EncryptedSource {
  const { encryption, ...source } = diskSourceCheck(given, "source");
  if (encryption === undefined)
    throw new InvalidArgumentError({ field: "source.encryption", value: undefined, expected: "the volume's key" });
  if (source.format === "qcow2" && source.type !== "file")
    throw new NotSupportedError({ capability: "LUKS within a qcow2 image that is no file" });
  return { ...source, encryption };
}

/** @throws StorageError when QEMU has made another header than was reckoned with */
async function requireHeaderSize(path: string): Promise<void> {
  const file = await open(path, constants.O_RDONLY);
  try {
    const field = Buffer.alloc(4);
    await file.read(field, 0, field.length, PAYLOAD_FIELD);
    if (field.readUInt32BE() * 512 !== HEADER_BYTES)
      throw new StorageError("QEMU has made a LUKS header of another size");
  } finally {
    await file.close();
  }
}

/**
 * QEMU makes a key slot as strong as the host is fast, and measures that by a clock which may not have ticked meanwhile: then it gives up, and another try is what is
 * left, if it is `worthwhile`. What fails for another reason fails each time.
 */
async function measured<T>(
  run: () => Promise<T>,
  worthwhile: () => Promise<boolean> = () => Promise.resolve(true),
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await run();
    } catch (error) {
      if (tries === MEASURES || !isHyperviseError(error, "COMMAND_FAILED") || !(await worthwhile())) throw error;
    }
  }
}

function iterations(iterationMs: number | undefined): JsonObject {
  return iterationMs === undefined ? {} : { "iter-time": iterationMs };
}

function prefixed(prefix: string, options: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(options).map(([key, value]) => [`${prefix}.${key}`, value]));
}

function refusal(error: unknown): false {
  if (isHyperviseError(error, "DISK_KEY_REFUSED")) return false;
  throw error;
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(throwUnless("ENOENT"))) !== undefined;
}
