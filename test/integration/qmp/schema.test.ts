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

  #membersOf(type: string): string[] {
    const entity = this.#entities.get(`object:${type}`);
    if (entity?.["meta-type"] !== "object") return [];
    const own = entity.members.map((member) => member.name);
    return [...own, ...(entity.variants ?? []).flatMap((variant) => this.#membersOf(variant.type))];
  }
}

describe("the generated types", () => {
  it("know every command, argument and event of the QEMU that is installed", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    const wire = new WireSchema(await client.execute("query-qmp-schema"));
    const known: { readonly [command: string]: readonly string[] } = names.commands;
    expect(wire.names("command").length).toBeGreaterThan(200);
    expect(wire.names("command").filter((command) => !(command in known))).toEqual([]);
    expect(wire.names("event").filter((event) => !names.events.includes(event))).toEqual([]);
    const missing = wire.names("command").flatMap((command) => {
      const unknown = wire.argumentsOf(command).filter((argument) => !known[command]?.includes(argument));
      return unknown.map((argument) => `${command}.${argument}`);
    });
    expect(missing).toEqual([]);
  });
});
