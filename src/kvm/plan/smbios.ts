/** What the guest reads as its maker's data. Pure. */
import type { GuestSmbios } from "../../driver/index.js";
import { escapeOption, pairs } from "./arguments.js";

export function smbiosArguments(smbios: GuestSmbios | undefined): string[] {
  if (smbios === undefined) return [];
  const tables: [number, { readonly [key: string]: string | undefined } | undefined][] = [
    [0, smbios.bios],
    [1, smbios.system],
    [2, smbios.baseBoard],
    [3, smbios.chassis],
  ];
  const strings = smbios.oemStrings ?? [];
  return [
    ...tables.flatMap(([type, members]) => (members === undefined ? [] : ["-smbios", pairs(`type=${type}`, members)])),
    ...(strings.length === 0
      ? []
      : ["-smbios", ["type=11", ...strings.map((text) => `value=${escapeOption(text)}`)].join(",")]),
  ];
}
