/** Parts of a domain without what is not there, and libvirt's words for booleans. */
import { withoutUndefined } from "../../../core/index.js";
import type { Editable } from "../../xml/index.js";

/** The members of an object that have a value: a new object, which is its owner's to change. */
export function defined<T extends object>(object: T): Editable<T> {
  return withoutUndefined(object) as Editable<T>;
}

/** The words that libvirt has for a boolean in most parts of a domain's devices. */
export function onOff(value: boolean | undefined): "on" | "off" | undefined {
  return value === undefined ? undefined : value ? "on" : "off";
}
