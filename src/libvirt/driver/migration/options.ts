/** How guests get from one libvirt host to another: what an embedder chooses for a host. */
import { InvalidArgumentError, check } from "../../../core/index.js";
import type { Check } from "../../../core/index.js";
import type { LibvirtConnectionOptions } from "../../rpc/index.js";
import type { MigrationTransport } from "../plan/index.js";
import { connectionUriCheck } from "./connection-uri.js";

export const COPY_MODES = ["auto", "running"] as const;
export type LibvirtCopyMode = (typeof COPY_MODES)[number];

export interface LibvirtMigrationOptions {
  /** How other hosts' drivers reach this host's daemon. Default `tls`. */
  readonly transport?: MigrationTransport;
  /** Address, IPv4 or IPv6, or name by which other hosts reach this one. Default: the host's own address. */
  readonly address?: string;
  /** Where others reach the daemon, in place of what `transport` and `address` make: `qemu+tls://host:16600/system`. No parameters but `socket`. */
  readonly connectionUri?: string;
  /** Address on which QEMU waits for guests. Default: all of the host's. Its ports are those of libvirt's configuration (`migration_port_min`, `migration_port_max`). */
  readonly listenAddress?: string;
  /** Encrypts memory and disks on the way, with the certificates of libvirt's configuration. A host with it takes no guest without, and sends none. Default false. */
  readonly encrypt?: boolean;
  /** The name that this host's certificate bears, where it is not the one by which it is reached. */
  readonly certificateName?: string;
  /**
   * Memory comes to this host through a connection of the source's daemon to this host's, encrypted as that is, for hosts between which no other leads: without post-copy, without disks
   * that are not shared, and not to be aborted once it goes. Default false.
   */
  readonly tunnel?: boolean;
  /**
   * `auto` (default): guests run while their memory is copied, but for those under TCG before QEMU 9, which forgets some of what they write meanwhile: they stand still. `running`: all run.
   */
  readonly copy?: LibvirtCopyMode;
  /** How guests' destinations are reached, beside their URIs: credentials, keepalive. */
  readonly connection?: LibvirtConnectionOptions;
}

export interface ResolvedLibvirtMigration {
  readonly transport: MigrationTransport;
  readonly address: string | undefined;
  readonly connectionUri: string | undefined;
  readonly listenAddress: string | undefined;
  readonly encrypt: boolean;
  readonly certificateName: string | undefined;
  readonly tunnel: boolean;
  readonly copy: LibvirtCopyMode;
  readonly connection: LibvirtConnectionOptions;
}

const shape: Check<Omit<ResolvedLibvirtMigration, "connection">> = check.object({
  transport: check.withDefault(check.oneOf(["tcp", "tls", "ssh"] as const), "tls" as const),
  address: check.optional(check.string({ max: 253, charset: "ascii" })),
  connectionUri: check.optional(connectionUriCheck),
  listenAddress: check.optional(check.ipAddress()),
  encrypt: check.withDefault(check.boolean(), false),
  certificateName: check.optional(check.string({ max: 253, charset: "ascii" })),
  tunnel: check.withDefault(check.boolean(), false),
  copy: check.withDefault(check.oneOf(COPY_MODES), "auto" as const),
}) as unknown as Check<Omit<ResolvedLibvirtMigration, "connection">>;

/** @throws InvalidArgumentError that names the bad option */
export function resolveMigrationOptions(given: LibvirtMigrationOptions = {}): ResolvedLibvirtMigration {
  const { connection = {}, ...plain } = given;
  const resolved = shape(plain, "options.migration");
  if (resolved.tunnel && resolved.encrypt)
    throw new InvalidArgumentError({
      field: "options.migration.encrypt",
      value: true,
      expected: "false with a tunnel, which is encrypted as the daemons' connection is",
    });
  return { ...resolved, connection };
}
