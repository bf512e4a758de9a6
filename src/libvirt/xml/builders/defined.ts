/** Objects without what is not there, and libvirt's words for booleans. */
import { withoutUndefined } from "../../../core/index.js";
import type { Editable } from "../xml-object.js";

/** The members of an object that have a value: a new object, which is its owner's to change. */
export function defined<T extends object>(object: T): Editable<T> {
  return withoutUndefined(object) as Editable<T>;
}

/** The words that libvirt has for a boolean in most places. */
export function yesNo(value: boolean | undefined): "yes" | "no" | undefined {
  return value === undefined ? undefined : value ? "yes" : "no";
}

/** The words that libvirt has for a boolean in the other places. */
export function onOff(value: boolean | undefined): "on" | "off" | undefined {
  return value === undefined ? undefined : value ? "on" : "off";
}
