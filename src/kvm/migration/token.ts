/** What two KVM hosts tell each other of a guest that moves: the source what hardware it has, the destination where it is waited for. Checked as anything from outside. */
import { createHash } from "node:crypto";
import { InvalidArgumentError, check } from "../../core/index.js";
import type { Check, JsonObject } from "../../core/index.js";
import type { GuestDefinition } from "../../driver/index.js";
import { guestDefinitionCheck } from "../../hypervisor/index.js";
import type { Accelerator } from "../plan/command-line.js";
import type { Hardware } from "../plan/hardware.js";
import { hardwareCheck } from "../state/guest-state.js";
import { checkpointsCheck } from "../state/guest-work.js";
import type { Checkpoint } from "../state/guest-work.js";
import { COMPRESSIONS } from "./options.js";
import type { Agreement } from "./settings.js";

/** Where QEMU on the destination waits. `tunnel`: behind a stream that the embedder opens. */
export type MigrationAddress =
  | { readonly type: "inet"; readonly host: string; readonly port: number }
  | { readonly type: "unix"; readonly path: string }
  | { readonly type: "tunnel" };

/** From destination to source. */
export interface MigrationToken extends Agreement {
  readonly version: 1;
  readonly uuid: string;
  readonly memory: MigrationAddress;
  /**
   * Where it waits when the connection of a post-copy has broken; from then on the two are taken in turns, for at the one that was used last QEMU answers still, and hears nobody.
   * Absent where one place is enough: a socket's name can be taken from it.
   */
  readonly recovery?: MigrationAddress;
  /** Where its disks are written to; absent when none is copied. */
  readonly disks?: MigrationAddress;
  /** Ids of the disks that are copied. */
  readonly copyDisks: readonly string[];
  readonly tls: boolean;
  /** Of the hardware that the destination has built. */
  readonly fingerprint: string;
}

/** From source to destination. */
export interface GuestDescription {
  readonly version: 1;
  readonly definition: GuestDefinition;
  readonly hardware: Hardware;
  readonly accelerator: Accelerator;
  readonly cpuModel: string;
  /** Whose bitmaps are in files that both hosts have. */
  readonly checkpoints?: readonly Checkpoint[];
}

const addressCheck: Check<MigrationAddress> = check.variants("type", {
  inet: check.object({
    type: check.oneOf(["inet"]),
    host: check.ipAddress(),
    port: check.integer({ min: 1, max: 65_535 }),
  }),
  unix: check.object({ type: check.oneOf(["unix"]), path: check.absolutePath() }),
  tunnel: check.object({ type: check.oneOf(["tunnel"]) }),
});

const tokenCheck: Check<MigrationToken> = check.object({
  version: check.oneOf([1] as const),
  uuid: check.uuid(),
  memory: addressCheck,
  recovery: check.optional(addressCheck),
  disks: check.optional(addressCheck),
  copyDisks: check.array(check.string({ max: 255 }), { max: 256 }),
  postcopy: check.boolean(),
  multifdChannels: check.integer({ min: 0, max: 64 }),
  compression: check.oneOf(COMPRESSIONS),
  tls: check.boolean(),
  fingerprint: check.string({ max: 64, charset: "name" }),
});

const descriptionCheck: Check<GuestDescription> = check.object({
  version: check.oneOf([1] as const),
  definition: guestDefinitionCheck,
  hardware: hardwareCheck,
  accelerator: check.oneOf(["kvm", "tcg"]),
  cpuModel: check.string({ max: 1024, charset: "ascii" }),
  checkpoints: check.optional(checkpointsCheck),
});

/** @throws InvalidArgumentError for what no KVM host gave for this guest */
export function parseToken(value: unknown, uuid: string): MigrationToken {
  const token = tokenCheck(value, "request.token");
  if (token.uuid !== uuid)
    throw new InvalidArgumentError({ field: "request.token.uuid", value: token.uuid, expected: uuid });
  return token;
}

/** @throws InvalidArgumentError */
export function parseDescription(value: unknown): GuestDescription {
  return descriptionCheck(value, "request.guest");
}

/** As plain data. */
export function asJson(value: MigrationToken | GuestDescription): JsonObject {
  return JSON.parse(JSON.stringify(value)) as JsonObject;
}

/** Changes when the guest's hardware does. */
export function fingerprintOf({ machineType, ports, bindings }: Hardware, definition: GuestDefinition): string {
  const { vcpus, memoryMiB } = definition;
  const places = bindings.map(({ kind, id, handle, pool, slot }) => [kind, id, handle, pool, slot]).sort();
  const text = JSON.stringify([machineType, ports, places, vcpus, memoryMiB]);
  return createHash("sha256").update(text).digest("hex");
}
