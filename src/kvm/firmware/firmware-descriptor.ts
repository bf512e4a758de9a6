/** What a host says of the UEFI firmware that it has: QEMU's firmware descriptions (docs/interop/firmware.json of QEMU), and the choice among them. Pure. */
import { check } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import type { GuestUefi } from "../../driver/index.js";

/** Code and variables in flash, as a guest can be given them. */
export interface FirmwareDescriptor {
  readonly architecture: string;
  /** Patterns of QEMU's full names of machines, with `*` and `?`. */
  readonly machines: readonly string[];
  readonly features: readonly string[];
  readonly codePath: string;
  readonly codeFormat: FlashFormat;
  readonly templatePath: string;
  readonly variablesFormat: FlashFormat;
}

const FLASH_FORMATS = ["raw", "qcow2"] as const;
export type FlashFormat = (typeof FLASH_FORMATS)[number];

/** The firmware that a guest was given. Kept with it, since its variables belong to this code. */
export interface FirmwareFiles {
  readonly codePath: string;
  readonly codeFormat: FlashFormat;
  readonly templatePath: string;
  readonly variablesFormat: FlashFormat;
  /** Code that only runs where system management mode guards its variables. */
  readonly smm: boolean;
  /** What it was chosen for: another wish means another choice. */
  readonly wish: string;
}

export const firmwareFilesCheck: Check<FirmwareFiles> = check.object({
  codePath: check.absolutePath(),
  codeFormat: check.oneOf(FLASH_FORMATS),
  templatePath: check.absolutePath(),
  variablesFormat: check.oneOf(FLASH_FORMATS),
  smm: check.boolean(),
  wish: check.string({ max: 16_384 }),
});

/** Descriptions hold more than we read; what is not flash of code and variables is passed over. */
export function parseDescriptor(json: unknown): readonly FirmwareDescriptor[] {
  const root = members(json);
  const mapping = members(root["mapping"]);
  const [code, template] = [members(mapping["executable"]), members(mapping["nvram-template"])];
  const [codePath, templatePath] = [path(code["filename"]), path(template["filename"])];
  const [codeFormat, variablesFormat] = [format(code["format"]), format(template["format"])];
  if (mapping["device"] !== "flash" || !["split", undefined].includes(mapping["mode"] as string | undefined)) return [];
  if (!texts(root["interface-types"]).includes("uefi") || codePath === undefined || templatePath === undefined)
    return [];
  if (codeFormat === undefined || variablesFormat === undefined) return [];
  const features = texts(root["features"]);
  return list(root["targets"])
    .map(members)
    .flatMap((target) => {
      const { architecture } = target;
      if (typeof architecture !== "string") return [];
      const machines = texts(target["machines"]);
      return [{ architecture, machines, features, codePath, codeFormat, templatePath, variablesFormat }];
    });
}

export interface FirmwareWish {
  readonly uefi: GuestUefi;
  readonly architecture: string;
  /** QEMU's full name of the machine. */
  readonly machineType: string;
}

/** The first description that fits, in the host's order; undefined when none does. */
export function chooseFirmware(
  descriptors: readonly FirmwareDescriptor[],
  wish: FirmwareWish,
): FirmwareFiles | undefined {
  const { uefi, architecture, machineType } = wish;
  const { secureBoot = false, codePath, variablesTemplatePath } = uefi;
  const key = wishKey(wish);
  if (codePath !== undefined && variablesTemplatePath !== undefined) {
    const [codeFormat, variablesFormat] = [formatOf(codePath), formatOf(variablesTemplatePath)];
    return { codePath, codeFormat, templatePath: variablesTemplatePath, variablesFormat, smm: secureBoot, wish: key };
  }
  const fit = descriptors.filter(
    (descriptor) =>
      descriptor.architecture === architecture &&
      descriptor.machines.some((pattern) => matches(pattern, machineType)) &&
      isFor(descriptor.features, secureBoot),
  );
  const found = fit.find(({ features }) => features.includes("secure-boot") === secureBoot) ?? fit[0];
  if (found === undefined) return undefined;
  const { codeFormat, templatePath, variablesFormat, features } = found;
  return {
    codePath: found.codePath,
    codeFormat,
    templatePath,
    variablesFormat,
    smm: features.includes("requires-smm"),
    wish: key,
  };
}

/** What a choice of firmware depends on. */
export function wishKey({ uefi, architecture }: FirmwareWish): string {
  const { secureBoot = false, codePath = "", variablesTemplatePath = "" } = uefi;
  return JSON.stringify([architecture, secureBoot, codePath, variablesTemplatePath]);
}

function isFor(features: readonly string[], secureBoot: boolean): boolean {
  const has = (feature: string): boolean => features.includes(feature);
  if (secureBoot) return has("secure-boot") && has("enrolled-keys");
  return !has("enrolled-keys") && !has("requires-smm");
}

/** The name's end tells, as nothing else does. */
function formatOf(file: string): FlashFormat {
  return file.endsWith(".qcow2") ? "qcow2" : "raw";
}

function matches(pattern: string, name: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`).test(name);
}

function members(value: unknown): { readonly [key: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function texts(value: unknown): readonly string[] {
  return list(value).filter((item): item is string => typeof item === "string");
}

function path(value: unknown): string | undefined {
  return typeof value === "string" && value.startsWith("/") && !value.includes("\0") ? value : undefined;
}

function format(value: unknown): FlashFormat | undefined {
  return FLASH_FORMATS.find((known) => known === value);
}
