/** How guests get from one host to another: what an embedder chooses for a host. */
import type { Duplex } from "node:stream";
import { check } from "../../core/index.js";
import type { Check, JsonObject } from "../../core/index.js";

export const MIGRATION_TRANSPORTS = ["tcp", "unix", "tunnel"] as const;
/** `tcp`: QEMU to QEMU. `unix`: by sockets in the state directory, for two drivers on one machine. `tunnel`: through streams that the embedder gives. */
export type MigrationTransport = (typeof MIGRATION_TRANSPORTS)[number];

export const COMPRESSIONS = ["none", "xbzrle", "zlib", "zstd"] as const;
/** `xbzrle`: only what has changed of a page that was sent before. `zlib` and `zstd` want `multifdChannels`. */
export type Compression = (typeof COMPRESSIONS)[number];

export const COPY_MODES = ["auto", "running"] as const;
export type CopyMode = (typeof COPY_MODES)[number];

/** What a stream of a tunnel carries. */
export type MigrationChannel = "memory" | "disks";

export interface TunnelRequest {
  /** As the destination gave it: for the embedder to find the other end by. */
  readonly destination: JsonObject;
  readonly uuid: string;
  readonly channel: MigrationChannel;
  /** True when a descriptor may be given in place of a stream. */
  readonly takesDescriptor: boolean;
  readonly signal: AbortSignal;
}

/** A connected stream socket that QEMU is to write to by itself: what it carries does not pass through this process. */
export interface TunnelDescriptor {
  /** Of this process. Nobody else reads or writes it from now on. */
  readonly fd: number;
  /** Called once, when QEMU has its own copy or does not need it. */
  close(): void;
}

/** Opens a stream to the destination, whose end there is given to `KvmDriver.openMigrationChannel`. May be called several times for one migration. */
export type TunnelOpener = (request: TunnelRequest) => Promise<Duplex | TunnelDescriptor>;

export interface MigrationTls {
  /** Absolute path of a directory, readable to QEMU, with `ca-cert.pem`, `server-cert.pem`, `server-key.pem`, `client-cert.pem` and `client-key.pem`. */
  readonly directory: string;
  /** The name that the certificate of a destination must bear. Default: the address by which it is reached. */
  readonly peerName?: string;
}

export interface KvmMigrationOptions {
  /** How guests reach this host. Default `tcp`. */
  readonly transport?: MigrationTransport;
  /** Address of this host, IPv4 or IPv6, on which it waits for guests and which others reach it by. Default: the host's own. */
  readonly listenAddress?: string;
  /** Ports on which QEMU may wait, two at most a guest. Default 49,152 to 49,215. */
  readonly ports?: { readonly first: number; readonly last: number };
  /** Encrypts memory and disks on the way, and has both sides show certificates. A host with it takes no guest without, and sends none. */
  readonly tls?: MigrationTls;
  /** Connections that share the memory of a guest that comes here: 0 to 64. With them there is no post-copy. Default 0: one carries all. */
  readonly multifdChannels?: number;
  /** For guests that come here. Default `none`. */
  readonly compression?: Compression;
  /**
   * `auto` (default): guests run while their memory is copied, but for those under TCG before QEMU 9, which forgets some of what they write meanwhile: they stand still. `running`: all run.
   */
  readonly copy?: CopyMode;
  /** Needed where guests leave for a host whose transport is `tunnel`. */
  readonly openTunnel?: TunnelOpener;
}

export interface ResolvedMigrationOptions {
  readonly transport: MigrationTransport;
  readonly listenAddress: string | undefined;
  readonly ports: { readonly first: number; readonly last: number };
  readonly tls: MigrationTls | undefined;
  readonly multifdChannels: number;
  readonly compression: Compression;
  readonly copy: CopyMode;
  readonly openTunnel: TunnelOpener | undefined;
}

const port = check.integer({ min: 1, max: 65_535 });
const shape: Check<Omit<ResolvedMigrationOptions, "openTunnel">> = check.object({
  transport: check.withDefault(check.oneOf(MIGRATION_TRANSPORTS), "tcp" as const),
  listenAddress: check.optional(check.ipAddress()),
  ports: check.withDefault(
    check.refine(check.object({ first: port, last: port }), ({ first, last }) => first <= last, "first at most last"),
    { first: 49_152, last: 49_215 },
  ),
  tls: check.optional(
    check.object({
      directory: check.absolutePath(),
      peerName: check.optional(check.string({ max: 253, charset: "ascii" })),
    }),
  ),
  multifdChannels: check.withDefault(check.integer({ min: 0, max: 64 }), 0),
  compression: check.withDefault(check.oneOf(COMPRESSIONS), "none" as const),
  copy: check.withDefault(check.oneOf(COPY_MODES), "auto" as const),
}) as unknown as Check<Omit<ResolvedMigrationOptions, "openTunnel">>;

/** @throws InvalidArgumentError that names the bad option */
export function resolveMigrationOptions(given: KvmMigrationOptions = {}): ResolvedMigrationOptions {
  const { openTunnel, ...plain } = given;
  const resolved = shape(plain, "options.migration");
  const { compression, multifdChannels } = resolved;
  if ((compression === "zlib" || compression === "zstd") && multifdChannels === 0)
    check.refine(
      check.integer(),
      () => false,
      `at least 1 with the compression ${compression}`,
    )(multifdChannels, "options.migration.multifdChannels");
  return { ...resolved, openTunnel };
}
