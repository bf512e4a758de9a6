import { describe, expect, it } from "vitest";
import { compileGroup } from "../../../src/firewall/policy/group-policy.js";
import { TrackedFlowCutter } from "../../../src/firewall/policy/flow-cutter.js";
import type { Flow } from "../../../src/firewall/policy/permits.js";
import { compileInstance } from "../../../src/firewall/policy/port-policy.js";
import type { FilterPhase, InstancePolicy } from "../../../src/firewall/policy/port-policy.js";
import { policyOf } from "../../../src/firewall/policy/policy-state.js";
import type { PolicyState } from "../../../src/firewall/policy/policy-state.js";
import { rangeOf } from "../../../src/firewall/policy/address-range.js";

const UUID = "0b7cbf0c-9a3f-4d3e-9c52-0a52c1a0f6a1";
const to = (destinationPort: number): Flow => ({
  version: 4,
  protocol: 6,
  source: rangeOf("192.0.2.1").first,
  destination: rangeOf("10.0.0.5").first,
  destinationPort,
});

function instance(phase: FilterPhase, address = "10.0.0.5"): InstancePolicy {
  const port = { id: "p", macAddress: "52:54:00:00:00:01", deviceName: "tap0", securityGroups: ["web"] };
  const given = { uuid: UUID, name: "web", ports: [{ ...port, fixedIps: [{ address }] }] };
  return compileInstance(given, phase, { allowSameNetwork: false });
}

/** A port that flows come to on 80, which its group permits, and on 81. */
class World {
  readonly deleted: number[] = [];
  lists = 0;
  #state: PolicyState = policyOf({ instances: new Map(), groups: new Map(), members: new Map(), providerRules: [] });
  readonly #cutter: TrackedFlowCutter<Flow>;

  constructor(hasSpoken: boolean) {
    const tracked = {
      list: () => {
        this.lists += 1;
        return Promise.resolve([to(80), to(81)]);
      },
      delete: ({ doomed }: { readonly doomed: readonly Flow[] }) => {
        this.deleted.push(...doomed.map(({ destinationPort = 0 }) => destinationPort));
        return Promise.resolve();
      },
    };
    this.#cutter = new TrackedFlowCutter(tracked, () => Promise.resolve(hasSpoken));
  }

  async become(policy: InstancePolicy | undefined): Promise<void> {
    const rule = { direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 80 } as const;
    const after = policyOf({
      instances: new Map(policy === undefined ? [] : [[UUID, policy]]),
      groups: new Map([["web", compileGroup("web", { id: "web", rules: [rule] })]]),
      members: new Map(),
      providerRules: [],
    });
    const change = { before: this.#state, after, groups: new Set<string>(), members: new Set<string>() };
    await this.#cutter.cut({ ...change, instances: new Set([UUID]), providerRules: false });
    this.#state = after;
  }
}

describe("flows of a port that gets its filters", () => {
  it("are not looked for when nothing has ever come from it", async () => {
    const world = new World(false);
    for (const phase of ["basic", "prepared", "applied"] as const) await world.become(instance(phase));
    expect(world.lists).toBe(0);
    await world.become(instance("applied"));
    expect([world.lists, world.deleted]).toEqual([1, [81]]);
  });

  it("are cut when its guest has been at work", async () => {
    const world = new World(true);
    for (const phase of ["basic", "prepared"] as const) await world.become(instance(phase));
    expect(world.lists).toBe(0);
    await world.become(instance("applied"));
    expect([world.lists, world.deleted]).toEqual([1, [81]]);
  });

  it("are looked for when it gets another address before its groups are in force, and when it comes a second time", async () => {
    const moved = new World(false);
    await moved.become(instance("basic", "10.0.0.6"));
    await moved.become(instance("applied"));
    expect(moved.deleted).toEqual([81]);

    const again = new World(false);
    await again.become(instance("applied"));
    await again.become(undefined);
    expect(again.deleted).toEqual([80, 81]);
    await again.become(instance("applied"));
    expect(again.lists).toBe(1);
  });
});
