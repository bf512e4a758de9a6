/** The mask of a prefix length: `255.255.255.0`, `ffff:ffff:ffff:ffff::`. */
export function netmaskOf(version: 4 | 6, prefixLength: number): string {
  const [bits, width, count] = version === 4 ? [8, 255, 4] : [16, 65_535, 8];
  const parts = Array.from({ length: count }, (_, i) => {
    const ones = Math.min(bits, Math.max(0, prefixLength - i * bits));
    return width - (2 ** (bits - ones) - 1);
  });
  if (version === 4) return parts.join(".");
  const used = parts.slice(0, Math.ceil(prefixLength / bits)).map((part) => part.toString(16));
  return used.length === count ? used.join(":") : `${used.join(":")}::`;
}

/** Everything: where a default route leads. */
export function everywhere(version: 4 | 6): string {
  return version === 4 ? "0.0.0.0/0" : "::/0";
}
