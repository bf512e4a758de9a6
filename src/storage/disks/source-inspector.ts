/** Looks at disks wherever they are kept, through `qemu-img`; secrets reach it by files without names. */
import { isHyperviseError } from "../../core/index.js";
import type { ErrorContext, JsonObject } from "../../core/index.js";
import { PrivateFile } from "../../host/index.js";
import { DiskKeyError } from "../errors.js";
import type { TransferOptions } from "../images/image-store.js";
import { QemuImg, parseInfo } from "../qemu-img.js";
import type { QemuImgOptions } from "../qemu-img.js";
import { requireSecret } from "../secret-store.js";
import type { SecretStore } from "../secret-store.js";
import type { DiskSource } from "./disk-source.js";
import { diskObjectId, diskObjectProperties, diskObjects, optionText, protocolOptions } from "./qemu-source.js";
import type { DiskObject } from "./qemu-source.js";

/** What the nodes and objects of the one disk that is looked at are called after. */
export const INSPECTED = "disk0";

export interface SourceInspectorOptions extends QemuImgOptions {
  readonly secrets: SecretStore;
}

export class SourceInspector {
  readonly #secrets: SecretStore;
  readonly #qemuImg: QemuImg;

  constructor({ secrets, ...options }: SourceInspectorOptions) {
    this.#secrets = secrets;
    this.#qemuImg = new QemuImg(options);
  }

  /** Bytes that the disk takes where it is kept; of an encrypted one, with its header. @throws SecretNotFoundError, and as the command runner */
  async storedBytes(source: DiskSource, options: TransferOptions = {}): Promise<number> {
    const raw = { driver: "raw", file: protocolOptions(INSPECTED, source) };
    const { encryption: _, ...bare } = source;
    const said = await this.run(bare, ["info", "--output=json", "--image-opts", optionText(raw)], "look", options);
    return parseInfo(said).virtualSizeBytes;
  }

  /** Bytes that a guest sees of it. @throws as {@link storedBytes} */
  async guestBytes(source: DiskSource, options: TransferOptions = {}): Promise<number> {
    const words = ["info", "--output=json", "--image-opts", optionText(formatOptions(source))];
    return parseInfo(await this.run(source, words, "look", options)).virtualSizeBytes;
  }

  /**
   * Makes sure that an encrypted disk's key opens it.
   * @throws DiskKeyError when it does not, or nothing is encrypted there; SecretNotFoundError; as the command runner when what it is kept on can't be read
   */
  async requireKey(source: DiskSource, options: TransferOptions & ErrorContext = {}): Promise<void> {
    const place = optionText(formatOptions(source));
    // Looking at its description alone would not take the key.
    const words = ["map", "--output=json", "--max-length=512", "--image-opts", place];
    try {
      await this.run(source, words, "look", options);
    } catch (error) {
      if (!isHyperviseError(error, "COMMAND_FAILED")) throw error;
      await this.storedBytes(source, options);
      throw new DiskKeyError("the disk's key does not open it, or it is not encrypted", {
        instance: options.instance,
        device: options.device,
        cause: error,
      });
    }
  }

  /** Runs `qemu-img` with the objects that a source's options refer to, and others. @throws SecretNotFoundError, and as the command runner */
  async run(
    source: DiskSource,
    [command = "", ...words]: readonly string[],
    as: "look" | "copy",
    options: TransferOptions = {},
    others: readonly DiskObject[] = [],
  ): Promise<string> {
    const files: PrivateFile[] = [];
    try {
      const objects: string[] = [];
      for (const object of [...diskObjects(INSPECTED, source), ...others])
        objects.push("--object", optionText(await this.#propertiesOf(object, files)));
      return await this.#qemuImg.perform([command, ...objects, ...words], as, options);
    } finally {
      for (const file of files) file.wipe();
    }
  }

  async #propertiesOf(object: DiskObject, files: PrivateFile[]): Promise<JsonObject> {
    if (object.type !== "secret") return diskObjectProperties(object);
    const secret = await requireSecret(this.#secrets, object.secretId);
    const file = PrivateFile.create(secret.reveal());
    files.push(file);
    return diskObjectProperties(object, { file: file.path });
  }
}

/** The disk as the guest reads it, as QEMU's tools take it. */
export function formatOptions(source: DiskSource): JsonObject {
  const { encryption, format } = source;
  const file = protocolOptions(INSPECTED, source);
  if (encryption === undefined) return { driver: format, file };
  const key = { "key-secret": diskObjectId(INSPECTED, "luks") };
  if (format === "qcow2") return { driver: format, encrypt: { format: encryption.format, ...key }, file };
  return { driver: encryption.format, ...key, file };
}
