/** Disks of instances on a host's simulated storage. */
import { ConflictError, InvalidArgumentError } from "../core/index.js";
import type {
  CreateDiskRequest,
  DiskBackend,
  DiskCapacity,
  DiskInfo,
  DiskSource,
  DiskSourceFormat,
  TransferOptions,
} from "../storage/index.js";
import { DiskNotFoundError } from "../driver/index.js";
import type { FaultPoint } from "./fault-points.js";
import { writeCopy } from "./guest-disks.js";
import type { FakeProcess, Halfway } from "./process.js";
import { EMPTY, THIN_BYTES } from "./storage.js";
import type { FakeFile, FakeStorage } from "./storage.js";
import { transfer } from "./transfer.js";

const NAME = /^[a-z0-9.-]{1,64}$/;

export class FakeDiskBackend implements DiskBackend {
  readonly #process: FakeProcess;
  readonly #storage: FakeStorage;

  constructor(process: FakeProcess) {
    this.#process = process;
    this.#storage = process.host.storage;
  }

  create(request: CreateDiskRequest, options: TransferOptions = {}): Promise<DiskSource> {
    const { instanceUuid, name, image } = request;
    return this.#call("disks.create", instanceUuid, name, options, async (halfway) => {
      if (!NAME.test(name))
        throw new InvalidArgumentError({ field: "name", value: name, expected: "1 to 64 of a-z 0-9 . -" });
      if (this.#find(instanceUuid, name) !== undefined)
        throw new ConflictError("The instance has a disk of this name", { device: name });
      const virtualSizeBytes = Math.max(request.sizeBytes, image?.virtualSizeBytes ?? 0);
      const base = image === undefined ? undefined : this.#storage.get(image.path);
      const file = this.#storage.add({
        path: this.#storage.pathOf("disks", instanceUuid, name),
        kind: "disk",
        owner: instanceUuid,
        name,
        format: request.format ?? "qcow2",
        virtualSizeBytes,
        allocatedBytes: this.#storage.thick ? virtualSizeBytes : Math.min(THIN_BYTES, virtualSizeBytes),
        content: base?.content ?? EMPTY,
        backing: request.format === "raw" || request.layout === "flat" ? undefined : image?.path,
        complete: false,
      });
      try {
        await transfer(this.#process, {
          bytes: file.allocatedBytes,
          mibps: this.#process.host.rates.diskMiBps,
          ...options,
        });
      } catch (error) {
        if (this.#process.alive) this.#storage.remove(file.path);
        throw error;
      }
      await halfway();
      file.complete = true;
      return sourceOf(file);
    });
  }

  remove(instanceUuid: string, name: string): Promise<void> {
    return this.#call("disks.remove", instanceUuid, name, {}, () => {
      const file = this.#find(instanceUuid, name);
      if (file !== undefined) this.#storage.remove(file.path);
    });
  }

  removeAll(instanceUuid: string): Promise<boolean> {
    return this.#call("disks.removeAll", instanceUuid, undefined, {}, async (halfway) => {
      for (const file of this.#storage.ownedBy(instanceUuid, "disk")) this.#storage.remove(file.path);
      await halfway();
      for (const file of this.#storage.ownedBy(instanceUuid, "parkedDisk")) this.#storage.remove(file.path);
      return true;
    });
  }

  list(instanceUuid: string): Promise<readonly DiskInfo[]> {
    return this.#call("disks.list", instanceUuid, undefined, {}, () =>
      this.#storage.ownedBy(instanceUuid, "disk").map(infoOf),
    );
  }

  listInstances(): Promise<readonly string[]> {
    return this.#call("disks.listInstances", undefined, undefined, {}, () => this.#storage.owners("disk"));
  }

  resize(instanceUuid: string, name: string, sizeBytes: number, options: TransferOptions = {}): Promise<void> {
    return this.#call("disks.resize", instanceUuid, name, options, () => {
      const file = this.#require(instanceUuid, name);
      if (sizeBytes < file.virtualSizeBytes) {
        throw new InvalidArgumentError({
          field: "sizeBytes",
          value: sizeBytes,
          expected: `${file.virtualSizeBytes} or more`,
        });
      }
      this.#storage.resize(file, sizeBytes);
    });
  }

  exportDisk(
    instanceUuid: string,
    name: string,
    path: string,
    format: DiskSourceFormat,
    options: TransferOptions = {},
  ): Promise<void> {
    return this.#call("disks.exportDisk", instanceUuid, name, options, (halfway) =>
      writeCopy(
        this.#process,
        instanceUuid,
        this.#require(instanceUuid, name),
        { path, format },
        options.signal,
        halfway,
      ),
    );
  }

  park(instanceUuid: string, label: string): Promise<void> {
    return this.#call("disks.park", instanceUuid, label, {}, async (halfway) => {
      for (const file of this.#storage.ownedBy(instanceUuid, "disk")) {
        if (this.#storage.find(instanceUuid, "parkedDisk", file.name, label) !== undefined) continue;
        const path = this.#storage.pathOf("parked", label, instanceUuid, file.name);
        this.#storage.add({ ...file, kind: "parkedDisk", label, path, complete: false });
        await halfway();
      }
      for (const parked of this.#parked(instanceUuid, label)) parked.complete = true;
    });
  }

  restore(instanceUuid: string, label: string): Promise<void> {
    return this.#call("disks.restore", instanceUuid, label, {}, async (halfway) => {
      const parked = this.#parked(instanceUuid, label);
      if (!parked.every(({ complete }) => complete)) {
        // Parking ended half-way: nothing has changed since.
        for (const file of parked) this.#storage.remove(file.path);
        return;
      }
      if (parked.length === 0) return;
      for (const file of this.#storage.ownedBy(instanceUuid, "disk")) {
        if (!parked.some(({ name }) => name === file.name)) this.#storage.remove(file.path);
      }
      for (const { label: _, ...file } of parked) {
        const path = this.#storage.pathOf("disks", instanceUuid, file.name);
        this.#storage.remove(path);
        this.#storage.add({ ...file, kind: "disk", path });
        await halfway();
      }
      for (const file of parked) this.#storage.remove(file.path);
    });
  }

  discardParked(instanceUuid: string, label: string): Promise<void> {
    return this.#call("disks.discardParked", instanceUuid, label, {}, () => {
      for (const file of this.#parked(instanceUuid, label)) this.#storage.remove(file.path);
    });
  }

  leaveToken(token: string): Promise<void> {
    return this.#call("disks.leaveToken", undefined, token, {}, () => void this.#storage.tokens.add(token));
  }

  seesToken(token: string): Promise<boolean> {
    return this.#call("disks.seesToken", undefined, token, {}, () => this.#storage.tokens.has(token));
  }

  removeToken(token: string): Promise<void> {
    return this.#call("disks.removeToken", undefined, token, {}, () => void this.#storage.tokens.delete(token));
  }

  temporaryPath(name: string): Promise<string> {
    return this.#call("disks.temporaryPath", undefined, name, {}, () => this.#storage.pathOf("temporary", name));
  }

  removeTemporary(path: string): Promise<void> {
    return this.#call("disks.removeTemporary", undefined, path, {}, () => this.#storage.remove(path));
  }

  capacity(): Promise<DiskCapacity> {
    return this.#call("disks.capacity", undefined, undefined, {}, () => {
      const { capacityBytes, usedBytes, promisedBytes } = this.#storage;
      return { totalBytes: capacityBytes, usedBytes, leastAvailableBytes: capacityBytes - usedBytes - promisedBytes };
    });
  }

  #find(instanceUuid: string, name: string): FakeFile | undefined {
    return this.#storage.find(instanceUuid, "disk", name);
  }

  #require(instanceUuid: string, name: string): FakeFile {
    const file = this.#find(instanceUuid, name);
    if (file === undefined)
      throw new DiskNotFoundError("The instance has no such disk", { instance: { uuid: instanceUuid }, device: name });
    return file;
  }

  #parked(instanceUuid: string, label: string): readonly FakeFile[] {
    return this.#storage.ownedBy(instanceUuid, "parkedDisk").filter((file) => file.label === label);
  }

  #call<T>(
    point: FaultPoint,
    instanceUuid: string | undefined,
    subject: string | undefined,
    options: TransferOptions,
    body: (halfway: Halfway) => T | Promise<T>,
  ): Promise<T> {
    return this.#process.pass(point, { instanceUuid, subject, signal: options.signal }, body);
  }
}

function sourceOf(file: FakeFile): DiskSource {
  return { type: "file", path: file.path, format: file.format };
}

function infoOf(file: FakeFile): DiskInfo {
  const { name, virtualSizeBytes, allocatedBytes, backing } = file;
  return {
    name,
    source: sourceOf(file),
    virtualSizeBytes,
    allocatedBytes,
    ...(backing === undefined ? {} : { backingFile: backing }),
    overCommittedBytes: Math.max(0, virtualSizeBytes - allocatedBytes),
  };
}
