/** Config drives on a host's simulated storage: their files, without a file system around them. */
import { InvalidArgumentError, Secret } from "../core/index.js";
import { StorageError } from "../storage/index.js";
import { CONFIG_DRIVE_LABELS, configDriveFiles } from "../storage/index.js";
import type {
  BuildConfigDriveRequest,
  ConfigDriveBuilder,
  ConfigDriveImage,
  DiskSource,
  TransferOptions,
} from "../storage/index.js";
import type { FaultPoint } from "./fault-points.js";
import type { FakeProcess, Halfway } from "./process.js";
import type { Content } from "./storage.js";

/** Size of every simulated drive. */
const DRIVE_BYTES = 1_048_576;
const MARK = "config drive ";

/** A config drive as a guest finds it. */
export interface FakeConfigDrive {
  /** `config-2` or `cidata`. */
  readonly label: string;
  readonly files: Readonly<Record<string, Uint8Array>>;
}

/** The same random bytes each time. */
export class FakeConfigDriveBuilder implements ConfigDriveBuilder {
  readonly #process: FakeProcess;

  constructor(process: FakeProcess) {
    this.#process = process;
  }

  build({ directory, content }: BuildConfigDriveRequest, options: TransferOptions = {}): Promise<ConfigDriveImage> {
    return this.#call("configDrives.build", directory, options, (halfway) => {
      const files = configDriveFiles(content).map(
        ({ path, contents }) => `${path}:${Buffer.from(contents).toString("base64")}`,
      );
      return this.#write(directory, [MARK + CONFIG_DRIVE_LABELS[content.layout], ...files], halfway);
    });
  }

  pack(source: DiskSource, options: TransferOptions = {}): Promise<string> {
    return this.#call("configDrives.pack", "path" in source ? source.path : source.type, options, () => {
      const file = this.#process.host.resolve(source);
      if (typeof file !== "object") throw new StorageError("The config drive is not there");
      return Buffer.from(JSON.stringify(file.content)).toString("base64");
    });
  }

  unpack(packed: string, directory: string, options: TransferOptions = {}): Promise<ConfigDriveImage> {
    return this.#call("configDrives.unpack", directory, options, (halfway) =>
      this.#write(directory, parse(packed), halfway),
    );
  }

  randomBytes(length: number): Uint8Array {
    return Buffer.alloc(length, "hypervise");
  }

  async #write(path: string, content: Content, halfway: Halfway): Promise<ConfigDriveImage> {
    const { storage } = this.#process.host;
    storage.remove(path);
    const file = storage.add({
      ...{ path, name: path, kind: "temporaryFile", owner: undefined, format: "raw", content, backing: undefined },
      ...{ virtualSizeBytes: DRIVE_BYTES, allocatedBytes: DRIVE_BYTES, complete: false },
    });
    await halfway();
    file.complete = true;
    return { path, sizeBytes: DRIVE_BYTES };
  }

  #call<T>(
    point: FaultPoint,
    subject: string,
    { signal }: TransferOptions,
    body: (halfway: Halfway) => T | Promise<T>,
  ): Promise<T> {
    return this.#process.pass(point, { subject, signal }, body);
  }
}

function parse(packed: string): Content {
  const refuse = (cause: unknown): never => {
    throw new InvalidArgumentError({
      field: "packed",
      value: Secret.of("a config drive"),
      expected: "a config drive as it was packed",
      cause,
    });
  };
  try {
    const content: unknown = JSON.parse(Buffer.from(packed, "base64").toString());
    return Array.isArray(content) && content.every((line) => typeof line === "string") ? content : refuse(undefined);
  } catch (error) {
    return refuse(error);
  }
}

/** The config drive that a disk's content is; undefined when it is none. */
export function configDriveIn([first = "", ...lines]: Content): FakeConfigDrive | undefined {
  if (!first.startsWith(MARK)) return undefined;
  const files = lines.map((line): [string, Uint8Array] => {
    const at = line.indexOf(":");
    return [line.slice(0, at), Buffer.from(line.slice(at + 1), "base64")];
  });
  return { label: first.slice(MARK.length), files: Object.fromEntries(files) };
}
