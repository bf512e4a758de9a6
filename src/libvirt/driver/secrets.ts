/** The keys of encrypted disks and of servers that want one, as secrets of libvirt's: each guest has its own, in libvirt's memory alone. */
import { createHash } from "node:crypto";
import type { CommonOptions } from "../../core/index.js";
import type { GuestDefinition } from "../../driver/index.js";
import { requireSecret } from "../../storage/index.js";
import type { DiskSource } from "../../storage/index.js";
import { formatSecretXml, secretXml } from "../xml/index.js";
import { isLibvirtError } from "../rpc/index.js";
import { isDaemonMissing } from "./errors.js";
import type { LibvirtHost } from "./host.js";

/** What libvirt gives a secret out for. */
type Usage = "volume" | "iscsi" | "ceph";

/** A secret that a guest's disks name. */
export interface SecretUse {
  readonly secretId: string;
  readonly usage: Usage;
}

/** The secrets that sources of disks name, each once. */
export function secretUsesOf(sources: readonly (DiskSource | undefined)[]): readonly SecretUse[] {
  const uses = new Map<string, SecretUse>();
  for (const source of sources) {
    if (source === undefined) continue;
    if (source.encryption !== undefined)
      uses.set(source.encryption.secretId, { secretId: source.encryption.secretId, usage: "volume" });
    if (source.type === "iscsi" && source.auth !== undefined)
      uses.set(source.auth.secretId, { secretId: source.auth.secretId, usage: "iscsi" });
    if (source.type === "rbd" && source.secretId !== undefined)
      uses.set(source.secretId, { secretId: source.secretId, usage: "ceph" });
  }
  return [...uses.values()];
}

/** libvirt's uuid of a guest's secret: always the same, so that nothing has to be remembered to take it back. RFC 9562, version 8. */
export function secretUuid(guestUuid: string, secretId: string): string {
  const hex = createHash("sha256").update(`hypervise/${guestUuid}/${secretId}`).digest("hex");
  const variant = ((Number.parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** libvirt's uuids of all secrets that a definition names, by their ids. Pure. */
export function secretUuidsOf({
  uuid,
  disks,
}: Pick<GuestDefinition, "uuid" | "disks">): Readonly<Record<string, string>> {
  const uses = secretUsesOf(disks.map(({ source }) => source));
  return Object.fromEntries(uses.map(({ secretId }) => [secretId, secretUuid(uuid, secretId)]));
}

/**
 * Gives libvirt the secrets; repeatable. They are kept in the daemon's memory alone, and can't be read back.
 * @throws SecretNotFoundError and what the store throws; LibvirtError. What was made stays: see {@link dropSecrets}
 */
export async function provideSecrets(
  host: LibvirtHost,
  guestUuid: string,
  uses: readonly SecretUse[],
  options: CommonOptions = {},
): Promise<void> {
  const { signal } = options;
  const limits = { signal, deadlineMs: options.deadline ?? host.timeouts.callMs };
  for (const { secretId, usage } of uses) {
    const value = (await requireSecret(host.secrets, secretId)).reveal();
    const uuid = secretUuid(guestUuid, secretId);
    const name = `hypervise/${guestUuid}/${secretId}`;
    const named = usage === "volume" ? { volume: name } : usage === "ceph" ? { ceph: name } : { iscsi: name };
    const xml = formatSecretXml(secretXml({ ephemeral: true, private: true, uuid, usage: named }));
    const secret = await host.client.defineSecretXml(xml, limits);
    // Ceph writes its keys in base64, and libvirt does so again.
    await secret.setValue(Buffer.from(value, usage === "ceph" ? "base64" : "utf8"), limits);
  }
}

/** Takes them back; success for those that are gone. */
export async function dropSecrets(host: LibvirtHost, guestUuid: string, uses: readonly SecretUse[]): Promise<void> {
  for (const { secretId } of uses) {
    const uuid = secretUuid(guestUuid, secretId);
    const secret = host.client.handle("Secret", { uuid, usageType: 0, usageId: "" });
    await secret.undefine({ deadlineMs: host.timeouts.callMs }).catch((error: unknown) => {
      // Those that a daemon has had in its memory alone are gone with it.
      if (!isLibvirtError(error, "secretNotFound") && !isDaemonMissing(error)) throw error;
    });
  }
}
