/** Ganeti's hypervisor parameters, read one by one: what is empty or None is absent. Pure. */
import type { JsonObject } from "../../core/index.js";

/** What could not be taken over as it was, in a sentence each for people. */
export type ImportNotes = string[];

export class Parameters {
  readonly #values: JsonObject;

  constructor(values: JsonObject) {
    this.#values = values;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === "string" && value !== "" && value !== "None" ? value : undefined;
  }

  has(name: string): boolean {
    const value = this.#values[name];
    return value !== undefined && value !== null && value !== "" && value !== "None";
  }

  flag(name: string): boolean {
    const value = this.#values[name];
    return value === true || value === "True" || value === "true";
  }

  /** A whole number above 0. */
  count(name: string): number | undefined {
    const value = Number(this.#values[name]);
    return Number.isSafeInteger(value) && value > 0 ? value : undefined;
  }
}

/** The entry of a table, by its own keys alone. */
export function entryOf<T>(table: { readonly [key: string]: T }, key: string | undefined): T | undefined {
  return key !== undefined && Object.hasOwn(table, key) ? table[key] : undefined;
}
