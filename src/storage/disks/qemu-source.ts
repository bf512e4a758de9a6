/** Disk sources in QEMU's own terms: options of its protocol drivers, and the objects that those refer to. Pure. */
import type { JsonObject, JsonValue } from "../../core/index.js";
import type { DiskSource, NbdDiskSource, RbdDiskSource, StorageServer } from "./disk-source.js";

/** An object of QEMU's that a disk's nodes refer to by its id. */
export type DiskObject =
  | { readonly type: "secret"; readonly id: string; readonly secretId: string; readonly format: "raw" | "base64" }
  | { readonly type: "tls"; readonly id: string; readonly directory: string };

/** What each kind of object of a disk is called, after the name of the disk's nodes. */
const OBJECTS = { luks: "key", iscsi: "password", rbd: "auth", nbd: "tls" } as const;

/** The id of an object; `name` begins the names of the disk's nodes. */
export function diskObjectId(name: string, kind: keyof typeof OBJECTS): string {
  return `${name}-${OBJECTS[kind]}`;
}

/** The name of the nodes that an object is for; undefined for one that is for none. */
export function nodesOfDiskObject(id: string): string | undefined {
  const [, name, kind] = /^([a-z]+\d+(?:-\d+)?)-([a-z]+)$/.exec(id) ?? [];
  return Object.values(OBJECTS).some((known) => known === kind) ? name : undefined;
}

/** The objects that have to be there before the disk's nodes are. */
export function diskObjects(name: string, source: DiskSource): readonly DiskObject[] {
  const objects: DiskObject[] = [];
  const secret = (kind: "luks" | "iscsi" | "rbd", secretId: string | undefined, format: "raw" | "base64"): void => {
    if (secretId !== undefined) objects.push({ type: "secret", id: diskObjectId(name, kind), secretId, format });
  };
  secret("luks", source.encryption?.secretId, "raw");
  if (source.type === "iscsi") secret("iscsi", source.auth?.secretId, "raw");
  // Ceph writes its keys in base64, and librados wants to have them so: QEMU puts them back.
  if (source.type === "rbd") secret("rbd", source.secretId, "base64");
  if (source.type === "nbd" && source.tls !== undefined)
    objects.push({ type: "tls", id: diskObjectId(name, "nbd"), directory: source.tls.directory });
  return objects;
}

/** An object of a disk as `object-add` takes it, with where a secret's value comes from. */
export function diskObjectProperties(object: DiskObject, value: JsonObject = {}): JsonObject {
  return object.type === "secret"
    ? { "qom-type": "secret", id: object.id, format: object.format, ...value }
    : { "qom-type": "tls-creds-x509", id: object.id, dir: object.directory, endpoint: "client", "verify-peer": true };
}

/** The driver that reaches what a disk is kept on, and its options. */
export function protocolOptions(name: string, source: DiskSource): JsonObject {
  switch (source.type) {
    case "file":
      return { driver: "file", filename: source.path };
    case "block":
      return { driver: "host_device", filename: source.path };
    case "nbd":
      return nbdOptions(name, source);
    case "iscsi":
      return defined({
        driver: "iscsi",
        transport: "tcp",
        portal: portalText(source.portal),
        target: source.target,
        lun: source.lun,
        "initiator-name": source.initiator,
        ...(source.auth === undefined
          ? {}
          : { user: source.auth.username, "password-secret": diskObjectId(name, "iscsi") }),
      });
    case "rbd":
      return rbdOptions(name, source);
  }
}

/** `10.0.0.1:3260`, `[fd00::1]:3260`. */
export function portalText({ host, port }: StorageServer): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Options as `--image-opts` and `--object` take them: `driver=raw,file.driver=file,…`, with commas escaped. */
export function optionText(options: JsonObject): string {
  return flatten("", options)
    .map(([key, value]) => `${key}=${value.replaceAll(",", ",,")}`)
    .join(",");
}

function flatten(prefix: string, value: JsonValue): [string, string][] {
  if (typeof value === "boolean") return [[prefix, value ? "on" : "off"]];
  if (typeof value !== "object" || value === null) return [[prefix, String(value)]];
  return Object.entries(value).flatMap(([key, item]) => flatten(prefix === "" ? key : `${prefix}.${key}`, item));
}

function nbdOptions(name: string, { server, exportName, tls }: NbdDiskSource): JsonObject {
  return defined({
    driver: "nbd",
    server:
      server.type === "unix"
        ? { type: "unix", path: server.path }
        : { type: "inet", host: server.host, port: String(server.port) },
    export: exportName,
    ...(tls === undefined ? {} : { "tls-creds": diskObjectId(name, "nbd"), "tls-hostname": tls.hostname }),
  });
}

function rbdOptions(name: string, source: RbdDiskSource): JsonObject {
  const { pool, namespace, image, monitors, user, secretId, configPath } = source;
  return defined({
    driver: "rbd",
    pool,
    namespace,
    image,
    conf: configPath,
    user,
    server: monitors?.map(({ host, port }) => ({ host, port: String(port) })),
    ...(secretId === undefined ? {} : { "auth-client-required": ["cephx"], "key-secret": diskObjectId(name, "rbd") }),
  });
}

function defined(members: { readonly [key: string]: JsonValue | undefined }): JsonObject {
  return Object.fromEntries(
    Object.entries(members).filter((entry): entry is [string, JsonValue] => entry[1] !== undefined),
  );
}
