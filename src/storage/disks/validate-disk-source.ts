/** Checks of disk sources, whoever gives them: values of theirs stand in QEMU's options and in commands. */
import { check } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import { DISK_ENCRYPTIONS, DISK_SOURCE_FORMATS } from "./disk-source.js";
import type { DiskEncryption, DiskSource, NbdDiskSource, NbdTls, StorageServer } from "./disk-source.js";

/** Id of a value in a `SecretStore`. */
export const secretIdCheck: Check<string> = check.string({
  max: 128,
  pattern: /^[A-Za-z0-9][A-Za-z0-9._:-]*$/,
  expected: "the id of a secret: 1 to 128 characters of [A-Za-z0-9._:-], not starting with a sign",
});

export const encryptionCheck: Check<DiskEncryption> = check.object({
  format: check.oneOf(DISK_ENCRYPTIONS),
  secretId: secretIdCheck,
});

/** An IP address or a host name. */
export const hostCheck: Check<string> = eitherOf(check.ipAddress(), check.hostname());

const port = check.integer({ min: 1, max: 65_535 });

export const storageServerCheck: Check<StorageServer> = check.object({ host: hostCheck, port });

/** The kernel's bound for the name of a socket. */
const socketPath = check.refine(
  check.absolutePath(),
  (path) => Buffer.byteLength(path) <= 107,
  "a path of at most 107 bytes",
);

export const nbdServerCheck: Check<NbdDiskSource["server"]> = check.variants("type", {
  unix: check.object({ type: check.oneOf(["unix"]), path: socketPath }),
  inet: check.object({ type: check.oneOf(["inet"]), host: hostCheck, port }),
});

export const nbdTlsCheck: Check<NbdTls> = check.object({
  directory: check.absolutePath(),
  hostname: check.optional(hostCheck),
});

/** RFC 3720, section 3.2.6.3: a name of iSCSI. */
export const iscsiNameCheck: Check<string> = check.string({
  max: 223,
  pattern:
    /^(?:iqn\.\d{4}-\d{2}\.[a-z0-9.-]+(?::[a-z0-9.:_-]+)?|eui\.[0-9a-f]{16}|naa\.(?:[0-9a-f]{16}|[0-9a-f]{32}))$/i,
  expected: "an iSCSI name such as iqn.2010-10.org.openstack:volume",
});

export const iscsiLunCheck: Check<number> = check.integer({ min: 0, max: 16_383 });

export const iscsiAuthCheck: Check<{ readonly username: string; readonly secretId: string }> = check.object({
  username: check.string({ max: 255, charset: "ascii" }),
  secretId: secretIdCheck,
});

/** A name of Ceph's: of a pool, a namespace, an image or a user. Signs that its own notation gives a meaning to are none. */
export const rbdNameCheck: Check<string> = check.string({
  max: 255,
  pattern: /^[A-Za-z0-9_][A-Za-z0-9_.+ -]*$/,
  expected: "a name of Ceph's: letters, digits and [_.+ -], not starting with a sign",
});

const common = {
  format: check.oneOf(DISK_SOURCE_FORMATS),
  encryption: check.optional(encryptionCheck),
};

/** A disk source as plain, frozen data. */
export const diskSourceCheck: Check<DiskSource> = check.variants("type", {
  file: check.object({ type: check.oneOf(["file"]), path: check.absolutePath(), ...common }),
  block: check.object({ type: check.oneOf(["block"]), path: check.absolutePath(), ...common }),
  nbd: check.object({
    type: check.oneOf(["nbd"]),
    server: nbdServerCheck,
    exportName: check.string({ min: 0, max: 4096 }),
    tls: check.optional(nbdTlsCheck),
    ...common,
  }),
  iscsi: check.object({
    type: check.oneOf(["iscsi"]),
    portal: storageServerCheck,
    target: iscsiNameCheck,
    lun: iscsiLunCheck,
    initiator: check.optional(iscsiNameCheck),
    auth: check.optional(iscsiAuthCheck),
    ...common,
  }),
  rbd: check.object({
    type: check.oneOf(["rbd"]),
    pool: rbdNameCheck,
    namespace: check.optional(rbdNameCheck),
    image: rbdNameCheck,
    monitors: check.optional(check.array(storageServerCheck, { min: 1, max: 32 })),
    user: check.optional(rbdNameCheck),
    secretId: check.optional(secretIdCheck),
    configPath: check.optional(check.absolutePath()),
    ...common,
  }),
});

function eitherOf<T>(one: Check<T>, other: Check<T>): Check<T> {
  return (value, path) => {
    try {
      return one(value, path);
    } catch {
      return other(value, path);
    }
  };
}
