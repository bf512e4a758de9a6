/** Disks, in the words of who wants one. */
import type {
  DomainDisk,
  DomainDiskDriver,
  DomainDiskTarget,
  DomainSource,
  DomainThrottlegroup,
} from "../generated/types.gen.js";
import type { Editable, Int64 } from "../xml-object.js";
import { defined } from "./defined.js";

/** A host that serves network disks. */
export interface NetworkDiskHost {
  readonly name: string;
  readonly port?: number | undefined;
}

/** What is in a disk. */
export type DiskSource =
  | { readonly file: string }
  | { readonly block: string }
  | { readonly pool: string; readonly volume: string }
  | { readonly directory: string }
  | {
      readonly protocol: NonNullable<DomainSource["protocol"]>;
      /** The export, image or path on the server. */
      readonly name?: string | undefined;
      readonly hosts?: readonly NetworkDiskHost[] | undefined;
      /** Who asks, and the libvirt secret that holds the password. */
      readonly auth?:
        { readonly username: string; readonly secretType: "ceph" | "iscsi"; readonly secretUuid: string } | undefined;
    };

/** A disk of a domain. */
export interface DiskOptions {
  /** Nothing for a drive without a medium. */
  readonly source?: DiskSource | undefined;
  /** Default: `disk`. */
  readonly device?: "disk" | "cdrom" | "floppy" | "lun" | undefined;
  /** The name that tells the domain's disks apart: `vda`. */
  readonly target: string;
  readonly bus?: DomainDiskTarget["bus"];
  /** What the source holds. Default: `raw`; libvirt never guesses it. */
  readonly format?: DomainDiskDriver["type"];
  readonly cache?: DomainDiskDriver["cache"];
  readonly io?: DomainDiskDriver["io"];
  readonly discard?: DomainDiskDriver["discard"];
  readonly readonly?: boolean | undefined;
  readonly shareable?: boolean | undefined;
  /** The serial number that the guest sees. */
  readonly serial?: string | undefined;
  /** From 1: the order in which the domain tries to boot from its devices. */
  readonly bootOrder?: number | undefined;
  /** The libvirt secret with the passphrase of a LUKS disk. */
  readonly luksSecretUuid?: string | undefined;
  /** Rates per second, in the names that libvirt has for them. */
  readonly limits?: Readonly<Partial<Record<DiskLimit, Int64>>> | undefined;
}

/** What can be limited of a disk. */
export type DiskLimit = Exclude<keyof DomainThrottlegroup, `$${string}` | "group_name">;

/** The element `<disk>`. */
export function diskXml(options: DiskOptions): Editable<DomainDisk> {
  const { source, device = "disk", format = "raw", cache, io, discard, limits, luksSecretUuid } = options;
  return defined<DomainDisk>({
    type: source === undefined ? "file" : typeOf(source),
    device,
    driver: defined<DomainDiskDriver>({ name: "qemu", type: format, cache, io, discard }),
    ...(source !== undefined && "auth" in source && source.auth !== undefined
      ? {
          auth: {
            username: source.auth.username,
            secret: { type: source.auth.secretType, uuid: source.auth.secretUuid },
          },
        }
      : {}),
    source: source === undefined ? undefined : sourceOf(source),
    target: defined<DomainDiskTarget>({ dev: options.target, bus: options.bus }),
    iotune: limits === undefined ? undefined : defined<DomainThrottlegroup>(limits),
    readonly: options.readonly === true ? true : undefined,
    shareable: options.shareable === true ? true : undefined,
    serial: options.serial,
    boot: options.bootOrder === undefined ? undefined : { order: options.bootOrder },
    encryption:
      luksSecretUuid === undefined
        ? undefined
        : { format: "luks", secret: [{ type: "passphrase", uuid: luksSecretUuid }] },
  });
}

function typeOf(source: DiskSource): NonNullable<DomainDisk["type"]> {
  if ("file" in source) return "file";
  if ("block" in source) return "block";
  if ("pool" in source) return "volume";
  return "directory" in source ? "dir" : "network";
}

function sourceOf(source: DiskSource): DomainSource {
  if ("file" in source) return { file: source.file };
  if ("block" in source) return { dev: source.block };
  if ("pool" in source) return { pool: source.pool, volume: source.volume };
  if ("directory" in source) return { dir: source.directory };
  return defined<DomainSource>({
    protocol: source.protocol,
    name: source.name,
    host: source.hosts?.map((host) => defined<NetworkDiskHost>(host)),
  });
}
