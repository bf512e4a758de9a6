/** QEMU's capabilities and parameters for one migration, as data; and setting them. */
import { NotSupportedError } from "../../core/index.js";
import type { Qapi } from "../../qmp/index.js";
import type { GuestSession } from "../session.js";
import type { Compression } from "./options.js";

/** Capabilities that this driver ever turns on. What is not wanted is turned off, since an earlier migration may have left it on. */
const CAPABILITIES = [
  ...(["events", "return-path", "pause-before-switchover", "late-block-activate", "auto-converge"] as const),
  ...(["postcopy-ram", "multifd", "xbzrle"] as const),
];
export type Capability = (typeof CAPABILITIES)[number];

/** More than any link carries. */
export const UNLIMITED_BYTES_PER_SECOND = 2 ** 40;

/** What both sides of a migration have to agree about. */
export interface Agreement {
  readonly postcopy: boolean;
  /** 0: one connection carries all. */
  readonly multifdChannels: number;
  readonly compression: Compression;
}

/** Capabilities of the side that sends. Pure. */
export function outgoingCapabilities(agreed: Agreement, autoConverge: boolean): ReadonlySet<Capability> {
  return new Set<Capability>([
    ...(["events", "return-path", "pause-before-switchover"] as const),
    ...(autoConverge ? (["auto-converge"] as const) : []),
    ...shared(agreed),
  ]);
}

/** Capabilities of the side that receives. Pure. */
export function incomingCapabilities(agreed: Agreement): ReadonlySet<Capability> {
  return new Set<Capability>(["events", "late-block-activate", ...shared(agreed)]);
}

function shared({ postcopy, multifdChannels, compression }: Agreement): readonly Capability[] {
  return [
    ...(postcopy ? (["postcopy-ram"] as const) : []),
    ...(multifdChannels > 0 ? (["multifd"] as const) : []),
    ...(compression === "xbzrle" ? (["xbzrle"] as const) : []),
  ];
}

/**
 * Whether QEMU can be told to do what a host's options say of migrations. Pure.
 * @throws NotSupportedError with the first capability that it lacks
 */
export function requireCapabilities(
  options: Pick<Agreement, "multifdChannels" | "compression">,
  known: readonly string[],
): void {
  const agreed = { ...options, postcopy: false };
  const missing = [...outgoingCapabilities(agreed, false), ...incomingCapabilities(agreed)].find(
    (capability) => !known.includes(capability),
  );
  if (missing === undefined) return;
  throw new NotSupportedError({
    capability: `migration ${missing}`,
    message: `this QEMU can't migrate guests with ${missing}`,
  });
}

/** Parameters that both sides have to agree about. Pure. */
export function agreedParameters({ multifdChannels, compression }: Agreement): Qapi.MigrateSetParameters {
  if (multifdChannels === 0) return {};
  const method = compression === "zlib" || compression === "zstd" ? compression : "none";
  return { "multifd-channels": multifdChannels, "multifd-compression": method };
}

/** Turns on what is wanted and off what is not. @throws QmpCommandError when QEMU or the host can't do what is wanted; then nothing is changed */
export async function setCapabilities(
  session: GuestSession,
  wanted: ReadonlySet<Capability>,
  signal?: AbortSignal,
): Promise<void> {
  const capabilities = CAPABILITIES.map((capability) => ({ capability, state: wanted.has(capability) }));
  await session.execute("migrate-set-capabilities", { capabilities }, { signal });
}
