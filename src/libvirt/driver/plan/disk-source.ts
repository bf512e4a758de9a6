/** Where a disk's contents are, in libvirt's words. Pure. */
import { isIP } from "node:net";
import type { DiskSource, IscsiDiskSource, NbdDiskSource, RbdDiskSource } from "../../../storage/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import type { DomainPlanOptions } from "./plan-options.js";
import { invalid, unsupported } from "./refuse.js";

/** Ceph's own name of who asks, where nobody names another. */
const CEPH_USER = "admin";

export interface PlannedSource {
  readonly type: "file" | "block" | "network";
  readonly source: LibvirtXml.DomainSource;
}

/**
 * The members `type` and `source` of a disk. `field` is the source's path below the definition. Who en- and decrypts is always said: of the target of a copy, libvirt
 * 11.3 takes the key but writes plain text without it.
 * @throws NotSupportedError, InvalidArgumentError
 */
export function planSource(source: DiskSource, options: DomainPlanOptions, field: string): PlannedSource {
  const { type, source: place } = placeOf(source, options, field);
  const { encryption } = source;
  if (encryption === undefined) return { type, source: place };
  const uuid = secretUuid(encryption.secretId, options, `${field}.encryption.secretId`);
  const secret = [{ type: "passphrase", uuid }];
  return { type, source: { ...place, encryption: { format: encryption.format, engine: "qemu", secret } } };
}

function placeOf(source: DiskSource, options: DomainPlanOptions, field: string): PlannedSource {
  switch (source.type) {
    case "file":
      return { type: "file", source: { file: filePath(source.path, field) } };
    case "block":
      return { type: "block", source: { dev: filePath(source.path, field) } };
    case "nbd":
      return { type: "network", source: nbd(source, options, field) };
    case "iscsi":
      return { type: "network", source: iscsi(source, options, field) };
    case "rbd":
      return { type: "network", source: rbd(source, options, field) };
  }
}

function filePath(path: string, field: string): string {
  if (path === "/") throw invalid(`${field}.path`, path, "the path of a file");
  return path;
}

function nbd(
  { server, exportName, tls }: NbdDiskSource,
  options: DomainPlanOptions,
  field: string,
): LibvirtXml.DomainSource {
  if (tls !== undefined && tls.directory !== options.nbdTlsDirectory)
    throw unsupported(
      `${field}.tls.directory`,
      "certificates are where libvirt's configuration has them, which is elsewhere",
    );
  const host: LibvirtXml.DomainHost =
    server.type === "unix" ? { transport: "unix", socket: server.path } : serverHost(server, field);
  return defined<LibvirtXml.DomainSource>({
    protocol: "nbd",
    name: exportName === "" ? undefined : exportName,
    tls: tls === undefined ? undefined : "yes",
    tlsHostname: tls?.hostname,
    host: [host],
  });
}

function iscsi(source: IscsiDiskSource, options: DomainPlanOptions, field: string): LibvirtXml.DomainSource {
  const { portal, target, lun, initiator, auth } = source;
  return defined<LibvirtXml.DomainSource>({
    protocol: "iscsi",
    name: `${target}/${lun}`,
    host: [serverHost(portal, field)],
    initiator: initiator === undefined ? undefined : { iqn: { name: initiator } },
    auth:
      auth === undefined
        ? undefined
        : {
            username: auth.username,
            secret: { type: "iscsi", uuid: secretUuid(auth.secretId, options, `${field}.auth.secretId`) },
          },
  });
}

function rbd(source: RbdDiskSource, options: DomainPlanOptions, field: string): LibvirtXml.DomainSource {
  const { pool, namespace, image, monitors = [], user, secretId, configPath } = source;
  if (user !== undefined && secretId === undefined)
    throw unsupported(`${field}.user`, "libvirt names a Ceph user only together with its key: secretId");
  const path = [pool, namespace, image].filter((part) => part !== undefined).join("/");
  return defined<LibvirtXml.DomainSource>({
    protocol: "rbd",
    name: path,
    host: monitors.length === 0 ? undefined : monitors.map((server) => serverHost(server, field)),
    config: configPath === undefined ? undefined : { file: configPath },
    auth:
      secretId === undefined
        ? undefined
        : {
            username: user ?? CEPH_USER,
            secret: { type: "ceph", uuid: secretUuid(secretId, options, `${field}.secretId`) },
          },
  });
}

/** Names as libvirt's schema has them; addresses of IPv6 stand without brackets. */
function serverHost(
  { host, port }: { readonly host: string; readonly port: number },
  field: string,
): LibvirtXml.DomainHost {
  if (isIP(host) === 0 && !/^[A-Za-z0-9.-]+$/.test(host))
    throw invalid(`${field}.host`, host, "an IP address or a host name");
  return { name: host, port };
}

function secretUuid(id: string, { secretUuids = {} }: DomainPlanOptions, field: string): string {
  const uuid = Object.hasOwn(secretUuids, id) ? secretUuids[id] : undefined;
  if (uuid === undefined) throw invalid(field, id, "a secret that libvirt was given");
  return uuid;
}
