/** Names that libvirt keeps for a guest's devices: made of our ids, and read back to them. Pure. */

/** What a device is to the definition. */
export const ALIAS_KINDS = ["disk", "nic", "device", "filesystem", "part"] as const;
export type AliasKind = (typeof ALIAS_KINDS)[number];

/** libvirt leaves names alone that begin so. */
const PREFIX = "ua-";

/** The alias of a device: `ua-disk-root`. Any id has one, no two the same. */
export function deviceAlias(kind: AliasKind, id: string): string {
  return `${PREFIX}${kind}-${[...Buffer.from(id)].map(escaped).join("")}`;
}

/** The kind and id that an alias was made of; undefined for aliases that are none of ours. */
export function readDeviceAlias(alias: string): { readonly kind: AliasKind; readonly id: string } | undefined {
  const [, kindText, text] = /^ua-([a-z]+)-((?:[A-Za-z0-9.-]|_[0-9a-f]{2})*)$/.exec(alias) ?? [];
  const kind = ALIAS_KINDS.find((name) => name === kindText);
  if (kind === undefined || text === undefined) return undefined;
  const bytes = [...text.matchAll(/_([0-9a-f]{2})|./g)].map(([sign, hex]) =>
    hex === undefined ? sign.charCodeAt(0) : Number.parseInt(hex, 16),
  );
  return { kind, id: Buffer.from(bytes).toString() };
}

function escaped(byte: number): string {
  const sign = String.fromCharCode(byte);
  return /[A-Za-z0-9.-]/.test(sign) ? sign : `_${byte.toString(16).padStart(2, "0")}`;
}
