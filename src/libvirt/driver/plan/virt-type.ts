/** The kinds of hypervisors behind libvirt, and where each one's daemon is reached, here and on another host. */
import { isIP } from "node:net";
import { InvalidArgumentError, NotSupportedError } from "../../../core/index.js";
import type { DomainXml } from "../../xml/index.js";

export const VIRT_TYPES = ["kvm", "qemu", "lxc", "xen", "parallels", "uml"] as const;
/**
 * `kvm` and `qemu`: QEMU with and without hardware's help. `lxc`: containers. `xen`: fully virtual guests and paravirtual ones. `parallels`: Virtuozzo. `uml`: User Mode Linux, which
 * libvirt has dropped with 5.0.
 */
export type VirtType = (typeof VIRT_TYPES)[number];

/** How one host's libvirt talks to another's. */
export type MigrationTransport = "tcp" | "tls" | "ssh";

interface VirtPolicy {
  readonly domainType: NonNullable<DomainXml["type"]>;
  readonly connectionUri: string;
  /** The scheme of another host's daemon; absent: guests don't migrate. */
  readonly migrationDriver?: string;
  /** The scheme of what the guest's memory goes to; absent: the hypervisor's own choice. */
  readonly dataScheme?: string;
}

const POLICIES: { readonly [T in VirtType]: VirtPolicy } = {
  kvm: { domainType: "kvm", connectionUri: "qemu:///system", migrationDriver: "qemu", dataScheme: "tcp" },
  qemu: { domainType: "qemu", connectionUri: "qemu:///system", migrationDriver: "qemu", dataScheme: "tcp" },
  lxc: { domainType: "lxc", connectionUri: "lxc:///system" },
  xen: { domainType: "xen", connectionUri: "xen:///system", migrationDriver: "xen", dataScheme: "tcp" },
  // The schemas' name of what was called Parallels; libvirt answers to both in URIs.
  parallels: { domainType: "vz", connectionUri: "parallels:///system", migrationDriver: "parallels" },
  uml: { domainType: "uml", connectionUri: "uml:///system" },
};

/** The value of `<domain type='…'>`. */
export function domainTypeOf(type: VirtType): NonNullable<DomainXml["type"]> {
  return POLICIES[type].domainType;
}

/** Where a host's own daemon is reached. */
export function connectionUriOf(type: VirtType): string {
  return POLICIES[type].connectionUri;
}

/**
 * Where the daemon of the host at an address is reached (`qemu+tls://host/system`): libvirt's `dconnuri`. IPv6 addresses get their brackets.
 * @throws NotSupportedError for kinds whose guests don't migrate, InvalidArgumentError for what is no address
 */
export function migrationUriOf(type: VirtType, address: string, transport: MigrationTransport = "tcp"): string {
  const { migrationDriver } = POLICIES[type];
  if (migrationDriver === undefined) throw noMigration(type);
  return `${migrationDriver}+${transport}://${authority(address)}/system`;
}

/**
 * Where a guest's memory goes to on the host at an address (`tcp://[2001:db8::1]:49152`): libvirt's `miguri`. Undefined where the kind of hypervisor chooses itself.
 * @throws NotSupportedError, InvalidArgumentError as {@link migrationUriOf}
 */
export function migrationDataUriOf(type: VirtType, address: string, port?: number): string | undefined {
  const { migrationDriver, dataScheme } = POLICIES[type];
  if (migrationDriver === undefined) throw noMigration(type);
  if (dataScheme === undefined) return undefined;
  return `${dataScheme}://${authority(address)}${port === undefined ? "" : `:${port}`}`;
}

function noMigration(type: VirtType): NotSupportedError {
  return new NotSupportedError({ capability: "migration", message: `${type} guests can't migrate` });
}

const HOST_NAME = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

function authority(address: string): string {
  // A zone begins with a sign that means something else in a URI.
  const [bare = "", zone, ...rest] = address.split("%");
  if (isIP(bare) === 6 && rest.length === 0 && (zone === undefined || /^[A-Za-z0-9._-]+$/.test(zone)))
    return zone === undefined ? `[${bare}]` : `[${bare}%25${zone}]`;
  if (isIP(address) === 4 || HOST_NAME.test(address)) return address;
  throw new InvalidArgumentError({ field: "address", value: address, expected: "an IP address or the name of a host" });
}
