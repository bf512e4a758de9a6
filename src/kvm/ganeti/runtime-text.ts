/** Text of a runtime file of Ganeti, read within bounds: whatever it holds, the answer is plain data or a typed error. */
import { StateCorruptError } from "../../core/index.js";
import type { JsonObject, JsonValue } from "../../core/index.js";

export type GanetiDeviceKind = "disk" | "nic";

const MAX_BYTES = 4 * 1_048_576;
const MAX_DEPTH = 32;
const MAX_WORDS = 4_096;
const MAX_DEVICES = 256;

/** The parts as they stand in the file. */
export interface RuntimeParts {
  /** QEMU's command line: its path, then its arguments. */
  readonly command: readonly string[];
  readonly nics: readonly JsonObject[];
  readonly hvparams: JsonObject;
  readonly disks: readonly RuntimeDisk<JsonObject>[];
}

/** A disk, the path that the host reaches it by, and from Ganeti 2.9 on perhaps a URI that QEMU reaches it by itself. */
export interface RuntimeDisk<D> {
  readonly disk: D;
  readonly link: string;
  readonly uri?: string;
}

/**
 * Three parts were written before Ganeti 2.10, four since.
 * @throws StateCorruptError
 */
export function parseRuntimeText(text: string): RuntimeParts {
  const parts = parse(text);
  if (!Array.isArray(parts) || parts.length < 3 || parts.length > 4)
    throw corrupt("it is no list of three or four parts");
  const [command, nics, hvparams, disks = []] = parts as readonly JsonValue[];
  if (!isList(command, MAX_WORDS) || !command.every((word) => typeof word === "string"))
    throw corrupt("its command line is no list of texts");
  if (!isList(nics, MAX_DEVICES)) throw corrupt("its NICs are no list");
  if (!isObject(hvparams)) throw corrupt("its hypervisor parameters are no object");
  if (!isList(disks, MAX_DEVICES)) throw corrupt("its disks are no list");
  return { command, nics: nics.map(nicOf), hvparams, disks: disks.map(diskOf) };
}

/** A value of the runtime file that is none of what Ganeti writes. */
export function corrupt(why: string): StateCorruptError {
  return new StateCorruptError(`the runtime file can't be read: ${why}`);
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parse(text: string): unknown {
  if (Buffer.byteLength(text) > MAX_BYTES) throw corrupt(`it is longer than ${MAX_BYTES} bytes`);
  if (depthOf(text) > MAX_DEPTH) throw corrupt(`it is nested more than ${MAX_DEPTH} deep`);
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new StateCorruptError("the runtime file can't be read: it is no JSON", { cause: error });
  }
}

/** How deep brackets are nested, without what stands in strings. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (quoted && character === "\\") at++;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && (character === "[" || character === "{")) deepest = Math.max(deepest, ++depth);
    else if (!quoted && (character === "]" || character === "}")) depth--;
  }
  return deepest;
}

/** The first releases wrote each NIC as JSON within JSON. */
function nicOf(value: JsonValue): JsonObject {
  const nic = typeof value === "string" ? parse(value) : value;
  if (!isObject(nic)) throw corrupt("a NIC is no object");
  return nic;
}

function diskOf(value: JsonValue): RuntimeDisk<JsonObject> {
  if (!isList(value, 3) || value.length < 2) throw corrupt("a disk is no list of two or three parts");
  const [disk, link, uri] = value;
  if (!isObject(disk)) throw corrupt("a disk is no object");
  if (typeof link !== "string") throw corrupt("the path of a disk is no text");
  if (uri !== undefined && uri !== null && typeof uri !== "string") throw corrupt("the URI of a disk is no text");
  return { disk, link, ...(typeof uri === "string" && uri !== "" ? { uri } : {}) };
}

function isList(value: unknown, max: number): value is readonly JsonValue[] {
  return Array.isArray(value) && value.length <= max;
}
