/** Checks of choices that only one kind of hypervisor knows: here their form only, each hypervisor checks its own. */
import { check } from "../core/index.js";
import type { Check, JsonObject } from "../core/index.js";

const isObject = (json: unknown): json is JsonObject =>
  typeof json === "object" && json !== null && !Array.isArray(json);
const jsonObject: Check<JsonObject> = check.map(check.json(), (value, path) =>
  check.guarded(isObject, "an object")(value, path),
);

/** Objects by the `type` of the hypervisor that each is for. */
export const platformCheck: Check<Readonly<Record<string, JsonObject>>> = check.record(
  check.string({ max: 64, charset: "name" }),
  jsonObject,
  { max: 16 },
);
