/** Storage of the world: files with sizes and contents, on one host or shared by several. */
import { ConflictError } from "../core/index.js";
import { DiskFullError } from "../storage/index.js";
import type { DiskSourceFormat } from "../storage/index.js";

export const FILE_KINDS = [
  "disk",
  "parkedDisk",
  "image",
  "temporaryFile",
  "savedMemory",
  "volumeFile",
  "exportedFile",
] as const;
export type FileKind = (typeof FILE_KINDS)[number];

/** What is on a disk: where it came from, and what was written since, oldest first. */
export type Content = readonly string[];

export interface FakeFile {
  readonly path: string;
  readonly kind: FileKind;
  /** Uuid of the instance that it belongs to. */
  readonly owner: string | undefined;
  /** Name of the disk within its instance, id of the image. */
  readonly name: string;
  /** Of a parked disk. */
  readonly label?: string;
  readonly format: DiskSourceFormat;
  /** Bytes that a guest sees. */
  virtualSizeBytes: number;
  /** Bytes taken on the storage. */
  allocatedBytes: number;
  content: Content;
  backing: string | undefined;
  /** False while half of its making is done. */
  complete: boolean;
  /** Tells it from every other file of the storage, whatever its path; made when somebody asks. */
  identity?: number;
}

export interface StorageOptions {
  /** Default 600,000 GiB. */
  readonly capacityBytes?: number;
  /** Disks take all of their size at once instead of when it is written to. Default false. */
  readonly thick?: boolean;
}

const NO_CONTENT: Content = Object.freeze([]);

/** What every new disk starts with. */
export const EMPTY = NO_CONTENT;
/** Bytes that an empty thin disk takes. */
export const THIN_BYTES = 196_608;

const GIB = 1024 ** 3;

export class FakeStorage {
  readonly name: string;
  readonly thick: boolean;
  readonly capacityBytes: number;
  readonly tokens = new Set<string>();
  readonly #files = new Map<string, FakeFile>();
  readonly #owned = new Map<string, FakeFile[]>();
  #usedBytes = 0;
  #promisedBytes = 0;
  #identities = 0;

  constructor(name: string, options: StorageOptions = {}) {
    this.name = name;
    this.capacityBytes = options.capacityBytes ?? 600_000 * GIB;
    this.thick = options.thick ?? false;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Bytes that files may still grow by. */
  get promisedBytes(): number {
    return this.#promisedBytes;
  }

  get files(): Iterable<FakeFile> {
    return this.#files.values();
  }

  pathOf(...parts: readonly string[]): string {
    return `/fake/${this.name}/${parts.join("/")}`;
  }

  get(path: string): FakeFile | undefined {
    return this.#files.get(path);
  }

  /** Files of an instance, of one kind, in the order of their making. */
  ownedBy(owner: string, kind: FileKind): readonly FakeFile[] {
    return this.#owned.get(owner)?.filter((file) => file.kind === kind) ?? [];
  }

  find(owner: string, kind: FileKind, name: string, label?: string): FakeFile | undefined {
    return this.#owned.get(owner)?.find((file) => file.kind === kind && file.name === name && file.label === label);
  }

  /** Uuids of instances with files of a kind. */
  owners(kind: FileKind): readonly string[] {
    return [...this.#owned].filter(([, files]) => files.some((file) => file.kind === kind)).map(([owner]) => owner);
  }

  /** @throws ConflictError when the path is taken, DiskFullError when the file does not fit; nothing is then left. */
  add(file: FakeFile): FakeFile {
    this.#identities = Math.max(this.#identities, file.identity ?? 0);
    if (this.#files.has(file.path)) throw new ConflictError("The file is there already", { detail: file.path });
    this.#claim(file.allocatedBytes);
    this.#promisedBytes += growth(file);
    this.#files.set(file.path, file);
    if (file.owner === undefined) return file;
    const owned = this.#owned.get(file.owner);
    if (owned === undefined) this.#owned.set(file.owner, [file]);
    else owned.push(file);
    return file;
  }

  clear(): void {
    this.#files.clear();
    this.#owned.clear();
    this.tokens.clear();
    this.#usedBytes = 0;
    this.#promisedBytes = 0;
  }

  remove(path: string): void {
    const file = this.#files.get(path);
    if (file === undefined) return;
    this.#files.delete(path);
    this.#usedBytes -= file.allocatedBytes;
    this.#promisedBytes -= growth(file);
    if (file.owner === undefined) return;
    const left = this.#owned.get(file.owner)?.filter((other) => other !== file) ?? [];
    if (left.length === 0) this.#owned.delete(file.owner);
    else this.#owned.set(file.owner, left);
  }

  identityOf(file: FakeFile): number {
    return (file.identity ??= ++this.#identities);
  }

  /** The file at the path, and all that are below it. */
  below(path: string): readonly FakeFile[] {
    return [...this.#files.values()].filter((file) => file.path === path || file.path.startsWith(`${path}/`));
  }

  /** Gives a file another size. @throws DiskFullError when a thick one does not fit; it then keeps its size. */
  resize(file: FakeFile, virtualSizeBytes: number): void {
    const allocated = this.thick && file.kind === "disk" ? virtualSizeBytes : file.allocatedBytes;
    this.#change(file, virtualSizeBytes, allocated);
  }

  /** Notes that a file takes `allocatedBytes`. @throws DiskFullError when it does not fit. */
  grow(file: FakeFile, allocatedBytes: number): void {
    this.#change(file, Math.max(file.virtualSizeBytes, allocatedBytes), allocatedBytes);
  }

  #change(file: FakeFile, virtualSizeBytes: number, allocatedBytes: number): void {
    this.#claim(allocatedBytes - file.allocatedBytes);
    this.#promisedBytes -= growth(file);
    file.virtualSizeBytes = virtualSizeBytes;
    file.allocatedBytes = allocatedBytes;
    this.#promisedBytes += growth(file);
  }

  #claim(bytes: number): void {
    if (bytes > 0 && this.#usedBytes + bytes > this.capacityBytes) {
      const detail = `${this.name}: ${this.capacityBytes - this.#usedBytes} bytes free, ${bytes} wanted`;
      throw new DiskFullError("No space is left on the host's storage", { detail });
    }
    this.#usedBytes += bytes;
  }
}

function growth(file: FakeFile): number {
  return Math.max(0, file.virtualSizeBytes - file.allocatedBytes);
}
