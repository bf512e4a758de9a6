import { describe, expect, it } from "vitest";
import { QmpClient } from "../../../src/qmp/index.js";
import type { Qapi } from "../../../src/qmp/index.js";
import names from "../../fixtures/qmp/qapi-names.json" with { type: "json" };
import { startQemu } from "./qemu.js";

/** The schema as QEMU shows it, with its types looked up by their masked names. */
class WireSchema {
  readonly #entities: ReadonlyMap<string, Qapi.SchemaInfo>;

  constructor(entities: readonly Qapi.SchemaInfo[]) {
    this.#entities = new Map(entities.map((entity) => [`${entity["meta-type"]}:${entity.name}`, entity]));
  }

  names(kind: "command" | "event"): string[] {
    return [...this.#entities.values()].filter((entity) => entity["meta-type"] === kind).map((entity) => entity.name);
  }

  argumentsOf(command: string): string[] {
    const entity = this.#entities.get(`command:${command}`);
    return entity?.["meta-type"] === "command" ? this.#membersOf(entity["arg-type"]) : [];
  }

  /** Members of the result, or of its elements. */
  resultOf(command: string): string[] {
    const entity = this.#entities.get(`command:${command}`);
    if (entity?.["meta-type"] !== "command") return [];
    const list = this.#entities.get(`array:${entity["ret-type"]}`);
    return this.#membersOf(list?.["meta-type"] === "array" ? list["element-type"] : entity["ret-type"]);
  }

  dataOf(event: string): string[] {
    const entity = this.#entities.get(`event:${event}`);
    return entity?.["meta-type"] === "event" ? this.#membersOf(entity["arg-type"]) : [];
  }

  #membersOf(type: string): string[] {
    const entity = this.#entities.get(`object:${type}`);
    if (entity?.["meta-type"] !== "object") return [];
    const own = entity.members.map((member) => member.name);
    return [...own, ...(entity.variants ?? []).flatMap((variant) => this.#membersOf(variant.type))];
  }
}

type Known = { readonly [name: string]: readonly string[] };

describe("the generated types", () => {
  it("know every command, argument, result and event of the QEMU that is installed", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    const wire = new WireSchema(await client.execute("query-qmp-schema"));
    const [commands, events] = [wire.names("command"), wire.names("event")];
    expect(commands.length).toBeGreaterThan(200);
    expect(commands.filter((command) => !(command in names.commands))).toEqual([]);
    expect(events.filter((event) => !(event in names.events))).toEqual([]);
    /** What QEMU has and the types have not. */
    const missing = (all: readonly string[], of: (name: string) => readonly string[], known: Known): string[] =>
      all.flatMap((name) =>
        of(name)
          .filter((member) => known[name]?.includes(member) !== true)
          .map((member) => `${name}.${member}`),
      );
    expect(missing(commands, (name) => wire.argumentsOf(name), names.commands)).toEqual([]);
    expect(missing(commands, (name) => wire.resultOf(name), names.results)).toEqual([]);
    expect(missing(events, (name) => wire.dataOf(name), names.events)).toEqual([]);
    expect(commands.flatMap((name) => wire.resultOf(name)).length).toBeGreaterThan(200);
  });
});
