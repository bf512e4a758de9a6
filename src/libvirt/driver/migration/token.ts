/** What two libvirt hosts tell each other of a guest that moves: the source what it is, the destination where it goes and what it has there. Checked as anything from outside. */
import { createHash } from "node:crypto";
import { InvalidArgumentError, check } from "../../../core/index.js";
import type { Check, JsonObject } from "../../../core/index.js";
import type { GuestDefinition } from "../../../driver/index.js";
import { guestDefinitionCheck } from "../../../hypervisor/index.js";
import { VIRT_TYPES } from "../plan/index.js";
import type { VirtType } from "../plan/index.js";
import { connectionUriCheck } from "./connection-uri.js";

/** From destination to source. */
export interface MigrationToken {
  readonly version: 1;
  readonly uuid: string;
  /** Where the destination's daemon is reached. */
  readonly connectionUri: string;
  /** Where memory and disks go to (`tcp://192.0.2.1`); absent: the destination's daemon says. */
  readonly dataUri?: string;
  readonly listenAddress?: string;
  readonly encrypt: boolean;
  readonly certificateName?: string;
  /** Memory comes through a connection between the two daemons. */
  readonly tunnel: boolean;
  /** Ids of the disks that are copied. */
  readonly copyDisks: readonly string[];
  /** Of what the guest has there: see {@link fingerprintOf}. */
  readonly fingerprint: string;
  /** The domain as the destination would define it: its disks, networks, listeners and files. */
  readonly xml: string;
}

/** From source to destination. */
export interface GuestDescription {
  readonly version: 1;
  readonly definition: GuestDefinition;
  readonly virtType: VirtType;
  /** libvirt's full name of the machine. */
  readonly machineType?: string;
  readonly generationId?: string;
  /** Its serial consoles listen on TCP ports. */
  readonly tcpConsoles?: boolean;
  /** The CPU that the guest has, as a document of libvirt's; absent where hosts need not be alike for it. */
  readonly cpu?: string;
}

const tokenCheck: Check<MigrationToken> = check.object({
  version: check.oneOf([1] as const),
  uuid: check.uuid(),
  connectionUri: connectionUriCheck,
  dataUri: check.optional(
    check.string({ max: 300, pattern: /^tcp:\/\/[A-Za-z0-9.:[\]%_-]+$/, expected: "tcp:// and an address" }),
  ),
  listenAddress: check.optional(check.ipAddress()),
  encrypt: check.boolean(),
  certificateName: check.optional(check.string({ max: 253, charset: "ascii" })),
  tunnel: check.boolean(),
  copyDisks: check.array(check.string({ max: 255 }), { max: 256 }),
  fingerprint: check.string({ max: 64, charset: "name" }),
  xml: check.string({ max: 1_048_576, charset: "text" }),
});

const descriptionCheck: Check<GuestDescription> = check.object({
  version: check.oneOf([1] as const),
  definition: guestDefinitionCheck,
  virtType: check.oneOf(VIRT_TYPES),
  machineType: check.optional(check.string({ max: 64, pattern: /^[A-Za-z0-9_.-]+$/, expected: "a machine type" })),
  generationId: check.optional(check.uuid()),
  tcpConsoles: check.optional(check.boolean()),
  cpu: check.optional(check.string({ max: 65_536, charset: "text" })),
});

/** @throws InvalidArgumentError for what no libvirt host gave for this guest */
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

/** Changes when the guest gets or loses something that it would then have on one host alone. */
export function fingerprintOf({ vcpus, memoryMiB, disks, nics }: GuestDefinition): string {
  const ids = (devices: readonly { readonly id: string }[]): string[] => devices.map(({ id }) => id).sort();
  return createHash("sha256")
    .update(JSON.stringify([vcpus, memoryMiB, ids(disks), ids(nics)]))
    .digest("hex");
}
