/** The world's volume service: volumes of blocks or files, which hosts connect to. */
import { VolumeConnectError } from "../storage/index.js";
import type { DiskSourceFormat, VolumeConnection } from "../storage/index.js";
import { EMPTY, FakeStorage, THIN_BYTES } from "./storage.js";
import type { FakeFile } from "./storage.js";

export interface NewVolume {
  /** Default: a new id. */
  readonly volumeId?: string;
  /** Default 1 GiB. */
  readonly sizeBytes?: number;
  /** `fake`: a block device on the host. `fake-file`: a file that all hosts see. Default `fake`. */
  readonly type?: FakeVolumeType;
  readonly readOnly?: boolean;
  readonly multiattach?: boolean;
  readonly format?: DiskSourceFormat;
}

export const FAKE_VOLUME_TYPES = ["fake", "fake-file"] as const;
export type FakeVolumeType = (typeof FAKE_VOLUME_TYPES)[number];

const GIB = 1024 ** 3;

export class VolumeRegistry {
  readonly devicePrefix = "/dev/fake/";
  readonly storage: FakeStorage;
  readonly #newId: () => string;

  constructor(newId: () => string, storage = new FakeStorage("volumes", { capacityBytes: Number.MAX_SAFE_INTEGER })) {
    this.#newId = newId;
    this.storage = storage;
  }

  /** Makes a volume and says how to reach it. */
  create(options: NewVolume = {}): VolumeConnection {
    const { volumeId = this.#newId(), sizeBytes = GIB, type = "fake", format = "raw", readOnly, multiattach } = options;
    this.#add(volumeId, volumeId, sizeBytes, format, undefined);
    return {
      volumeId,
      type,
      data: {},
      ...(readOnly === undefined ? {} : { readOnly }),
      ...(multiattach === undefined ? {} : { multiattach }),
    };
  }

  /** Makes the file of an overlay over the file at `backing`, as a volume service does before a snapshot; returns its path. */
  createOverlay(name: string, backing: string): string {
    const base = this.storage.get(backing);
    if (base === undefined)
      throw new VolumeConnectError("The file below the overlay was not found", { detail: backing });
    return this.#add(name, name, base.virtualSizeBytes, "qcow2", base).path;
  }

  /** Makes the file of an overlay over that which a connection of type `fake-file` leads to, and says how to reach it. */
  overlay(connection: VolumeConnection): VolumeConnection {
    const { volumeId, data } = connection;
    const name = this.#newId();
    this.createOverlay(name, this.storage.pathOf(typeof data["file"] === "string" ? data["file"] : volumeId));
    return { ...connection, data: { file: name } };
  }

  file(volumeId: string): FakeFile | undefined {
    return this.storage.get(this.storage.pathOf(volumeId));
  }

  /** Grows a volume, as its service does before the host is told. */
  extend(volumeId: string, sizeBytes: number): void {
    const file = this.file(volumeId);
    if (file !== undefined) this.storage.resize(file, sizeBytes);
  }

  delete(volumeId: string): void {
    this.storage.remove(this.storage.pathOf(volumeId));
  }

  #add(path: string, name: string, sizeBytes: number, format: DiskSourceFormat, base: FakeFile | undefined): FakeFile {
    return this.storage.add({
      path: this.storage.pathOf(path),
      kind: "volumeFile",
      owner: undefined,
      name,
      format,
      virtualSizeBytes: sizeBytes,
      allocatedBytes: Math.min(THIN_BYTES, sizeBytes),
      content: base?.content ?? EMPTY,
      backing: base?.path,
      complete: true,
    });
  }
}
