/** A test's hand on a simulated guest: what happens to it that no driver asked for, and what is in it. */
import { configDriveIn } from "./config-drive-builder.js";
import type { FakeConfigDrive } from "./config-drive-builder.js";
import { Secret } from "../core/index.js";
import { DiskNotFoundError } from "../driver/index.js";
import type { GuestDefinition, PowerState } from "../driver/index.js";
import { consoleText } from "./console-text.js";
import { passwordHash } from "./guest-agent.js";
import type { GuestBehaviour } from "./guest-behaviour.js";
import { diskOf } from "./guest-disks.js";
import { leaveMemory, notify, reboot, stop } from "./guest-power.js";
import { extrasOf, inMemory, print } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import type { FakeHost } from "./host.js";
import type { Content, FakeFile } from "./storage.js";

export class GuestControl {
  readonly host: FakeHost;
  readonly #record: GuestRecord;
  readonly #behave: (behaviour: Partial<GuestBehaviour>) => void;

  constructor(host: FakeHost, record: GuestRecord, behave: (behaviour: Partial<GuestBehaviour>) => void) {
    this.host = host;
    this.#record = record;
    this.#behave = behave;
  }

  get definition(): GuestDefinition {
    return this.#record.definition;
  }
  get state(): PowerState {
    return this.#record.state;
  }
  /** Its operating system is up. */
  get booted(): boolean {
    return this.#record.booted;
  }
  /** Boots since it was defined. */
  get boots(): number {
    return this.#record.boots;
  }
  get frozen(): boolean {
    return this.#record.extras?.frozen ?? false;
  }
  /** Everything that its console has shown and that is still kept. */
  get console(): string {
    const entries = this.#record.boots === 0 ? [] : extrasOf(this.#record).console;
    return entries.map((entry) => consoleText(this.#record, entry)).join("");
  }

  /** Changes how it behaves from now on. */
  behave(behaviour: Partial<GuestBehaviour>): void {
    this.#behave(behaviour);
    notify(this.#record);
  }

  /** Its hypervisor process dies. */
  crash(detail = "fake-crash"): void {
    stop(this.host, this.#record, { crashed: true, cause: "crash", detail });
  }

  /** It shuts down by itself. */
  powerOff(): void {
    stop(this.host, this.#record, { cause: "guest", detail: "guest-shutdown" });
  }

  /** It reboots by itself. */
  reboot(): void {
    if (inMemory(this.#record)) reboot(this.host, this.#record, "guest");
  }

  /** Its hypervisor process ceases to answer; what is asked of it waits, and `getInfo` gives the last known state. */
  hang(): void {
    this.#record.hung = true;
  }

  /** It answers again. */
  unhang(): void {
    this.#record.hung = false;
    notify(this.#record);
  }

  /** Somebody else takes it off the host, memory and definition. What it had on the host stays. */
  remove(): void {
    const running = inMemory(this.#record);
    if (running) leaveMemory(this.host, this.#record, "shutdown");
    this.host.dropGuest(this.#record);
    if (running) this.host.lifecycle(this.#record, "stopped", "external", "removed");
    notify(this.#record);
  }

  /** A request of the guest to a disk fails. */
  failRequest(diskId: string, reason?: string): void {
    const { uuid, name } = this.#record.definition;
    const base = { type: "ioError", uuid, name, device: diskOf(this.#record.definition, diskId).id } as const;
    this.host.emit(reason === undefined ? base : { ...base, reason });
  }

  print(text: string): void {
    print(this.#record, text);
  }

  /** Writes something to a disk. @throws DiskFullError when the storage has no space left for it. */
  write(diskId: string, text: string): void {
    const file = this.#file(diskId);
    this.host.storageOf(file).grow(file, file.allocatedBytes + text.length);
    file.content = [...file.content, text];
  }

  /** What is on a disk: where it came from (`image:<id>`), then what was written, oldest first. */
  read(diskId: string): Content {
    return this.#file(diskId).content;
  }

  /** What the guest finds on its config drive; undefined when it has none. */
  configDrive(): FakeConfigDrive | undefined {
    const files = this.#record.definition.disks.map(({ source }) => this.host.resolve(source));
    return files.flatMap((file) => (typeof file === "object" ? (configDriveIn(file.content) ?? []) : []))[0];
  }

  /** Whether a user of the guest has this password. */
  checkPassword(user: string, password: string): boolean {
    const { uuid } = this.#record.definition;
    return this.#record.extras?.passwordHashes[user] === passwordHash(uuid, user, Secret.of(password));
  }

  /** Whether a graphical console lets somebody with this password in. */
  checkConsolePassword(kind: "vnc" | "spice", password: string): boolean {
    const known = this.#record.extras?.consolePasswords?.[kind];
    if (known === undefined || known.until < this.host.world.clock.now()) return false;
    return known.hash === passwordHash(this.#record.definition.uuid, kind, Secret.of(password));
  }

  /** A file of the guest, as text. */
  file(path: string): string | undefined {
    const stored = this.#record.extras?.files[path];
    return stored === undefined ? undefined : Buffer.from(stored, "base64").toString();
  }

  #file(diskId: string): FakeFile {
    const file = this.host.resolve(diskOf(this.#record.definition, diskId).source);
    if (typeof file === "object") return file;
    throw new DiskNotFoundError("The disk is not one of this world", { device: diskId });
  }
}
