import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryStateStore } from "../../../src/core/index.js";
import type { JsonValue } from "../../../src/core/index.js";
import type { InstanceRecord } from "../../../src/driver/index.js";
import { InstanceRecords } from "../../../src/driver/instance-records.js";
import { blockDevice, smallSpec, vif } from "./support/specs.js";

function uuidOf(n: number): string {
  return `00000000-0000-4000-8000-${n.toString().padStart(12, "0")}`;
}

interface Wanted {
  readonly id: number;
  readonly name: number;
  readonly vifs: readonly number[];
  readonly volumes: readonly number[];
  readonly shared: boolean;
}

function record({ id, name, vifs, volumes, shared }: Wanted): InstanceRecord {
  const uuid = uuidOf(id);
  const blockDevices = volumes.map((n) => {
    const device = blockDevice(`v${n}`);
    return shared ? { connection: { ...device.connection, multiattach: true } } : device;
  });
  const ref = { uuid, name: `name-${name}` };
  const spec = smallSpec({ ...ref, vifs: vifs.map((n) => vif(n)), blockDevices });
  return { version: 1, ...ref, spec, disks: [], volumes: [], vifs: [], desiredState: "running", createdAt: 0 };
}

/** What a list without any index would allow. */
function allowed(all: ReadonlyMap<number, Wanted>, wanted: Wanted): boolean {
  return [...all.values()].every((other) => {
    if (other.id === wanted.id) return true;
    if (other.name === wanted.name || other.vifs.some((n) => wanted.vifs.includes(n))) return false;
    return (other.shared && wanted.shared) || !other.volumes.some((n) => wanted.volumes.includes(n));
  });
}

const small = fc.nat(3);
const wanted: fc.Arbitrary<Wanted> = fc.record({
  id: small,
  name: small,
  vifs: fc.uniqueArray(fc.integer({ min: 1, max: 4 }), { maxLength: 2 }),
  volumes: fc.uniqueArray(small, { maxLength: 2 }),
  shared: fc.boolean(),
});
const step = fc.oneof(
  { arbitrary: wanted.map((put) => ({ put })), weight: 4 },
  { arbitrary: small.map((drop) => ({ drop })), weight: 1 },
);

describe("instance records", () => {
  it("let no two instances have one name, port, MAC address or unshared volume, and remember what a list would", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const store = new MemoryStateStore();
        const records = new InstanceRecords(store);
        const model = new Map<number, Wanted>();
        for (const next of steps) {
          if ("drop" in next) {
            await records.delete(uuidOf(next.drop));
            model.delete(next.drop);
            continue;
          }
          const fits = allowed(model, next.put);
          const put = await records.put(record(next.put)).then(
            () => true,
            () => false,
          );
          expect(put).toBe(fits);
          if (fits) model.set(next.put.id, next.put);
        }
        const again = new InstanceRecords(store);
        await again.load();
        for (const held of [records, again]) {
          expect(
            held
              .list()
              .map(({ uuid }) => uuid)
              .sort(),
          ).toEqual([...model.keys()].map(uuidOf).sort());
          for (const [id, { name }] of model) expect(held.require(uuidOf(id)).name).toBe(`name-${name}`);
          for (let n = 0; n < 4; n += 1) {
            const holders = [...model.values()]
              .filter(({ volumes }) => volumes.includes(n))
              .map(({ id }) => uuidOf(id));
            expect([...held.volumeHolders(`v${n}`)].sort()).toEqual(holders.sort());
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it("claim while they are being written, and give back what could not be written", async () => {
    const store = new MemoryStateStore();
    let fail = true;
    const slow = {
      get: (key: string) => store.get(key),
      list: (prefix: string) => store.list(prefix),
      delete: (key: string) => store.delete(key),
      put: async (key: string, value: JsonValue): Promise<void> => {
        await Promise.resolve();
        if (fail) throw new Error("disk full");
        await store.put(key, value);
      },
    };
    const records = new InstanceRecords(slow);
    const one = record({ id: 1, name: 1, vifs: [1], volumes: [1], shared: false });
    const two = record({ id: 2, name: 1, vifs: [], volumes: [], shared: false });
    const writing = records.put(one);
    await expect(records.put(two)).rejects.toMatchObject({ code: "INSTANCE_EXISTS" });
    await expect(writing).rejects.toThrow("disk full");
    expect(records.get(one.uuid)).toBeUndefined();
    fail = false;
    await records.put(two);
    expect(records.size).toBe(1);
    fail = true;
    await expect(records.put({ ...two, name: "renamed" })).rejects.toThrow("disk full");
    expect(records.require(two.uuid).name).toBe(two.name);
    await expect(records.put(record({ id: 3, name: 1, vifs: [], volumes: [], shared: false }))).rejects.toMatchObject({
      code: "INSTANCE_EXISTS",
    });
  });

  it("know no instance that was never put", async () => {
    const records = new InstanceRecords(new MemoryStateStore());
    expect(() => records.require(uuidOf(1))).toThrow(expect.objectContaining({ code: "INSTANCE_NOT_FOUND" }) as Error);
    await expect(records.update(uuidOf(1), (r) => r)).rejects.toMatchObject({ code: "INSTANCE_NOT_FOUND" });
    await records.delete(uuidOf(1));
  });
});
