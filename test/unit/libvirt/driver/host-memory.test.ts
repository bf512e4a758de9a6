// What a host has for its guests' memory: files, huge pages that are set aside, and what is used of it.
import { afterEach, expect, it } from "vitest";
import { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import type { LibvirtDriverOptions, LibvirtPlan } from "../../../../src/libvirt/driver/index.js";
import { checkHostMemory, numaCells } from "../../../../src/libvirt/driver/host/host-memory.js";
import { parseCapabilitiesXml } from "../../../../src/libvirt/xml/index.js";
import { ErrorDomain, ErrorNumber } from "../../../../src/libvirt/rpc/index.js";
import { smallSpec } from "../../driver/support/specs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function openStage(options: Partial<LibvirtDriverOptions> = {}, initHost = true): Promise<LibvirtStage> {
  const stage = await LibvirtStage.open(options, { initHost });
  cleanups.push(() => stage.close());
  return stage;
}

const CAPABILITIES = `<capabilities><host><cpu><arch>x86_64</arch><pages unit='KiB' size='4'/><pages unit='KiB' size='2048'/><pages unit='KiB' size='1048576'/></cpu>
  <topology><cells num='2'>
    <cell id='0'><memory unit='KiB'>8388608</memory><pages unit='KiB' size='4'>1048576</pages><pages unit='KiB' size='2048'>512</pages><pages unit='KiB' size='1048576'>2</pages>
      <cpus num='1'><cpu id='0' socket_id='0' die_id='0' core_id='0' siblings='0'/></cpus></cell>
    <cell id='1'><memory unit='KiB'>8388608</memory><pages unit='KiB' size='4'>2097152</pages><pages unit='KiB' size='2048'>0</pages>
      <cpus num='1'><cpu id='1' socket_id='1' die_id='0' core_id='0' siblings='1'/></cpus></cell>
  </cells></topology></host></capabilities>`;

const daemon = { getCapabilities: () => Promise.resolve(CAPABILITIES) };
const facts = { virtType: "kvm", machines: [] } as const;

it("tells of huge pages by node, and of those that are not for guests", () => {
  const cells = numaCells(parseCapabilitiesXml(CAPABILITIES), [{ node: 0, sizeKiB: 2048, count: 64 }]);
  expect(cells.map(({ id, hugepages }) => [id, hugepages])).toEqual([
    [
      0,
      [
        { sizeKiB: 2048, total: 512, reserved: 64 },
        { sizeKiB: 1_048_576, total: 2, reserved: 0 },
      ],
    ],
    [1, [{ sizeKiB: 2048, total: 0, reserved: 0 }]],
  ]);
});

it.each([
  ["node", { node: 2, sizeKiB: 2048, count: 1 }],
  ["sizeKiB", { node: 1, sizeKiB: 1_048_576, count: 1 }],
  ["sizeKiB", { node: 0, sizeKiB: 4, count: 1 }],
  ["count", { node: 0, sizeKiB: 2048, count: 513 }],
])("refuses huge pages that the host has not: %s", async (field, reserved) => {
  await expect(checkHostMemory(daemon, facts, { reservedHugepages: [reserved] })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    field: `options.memory.reservedHugepages[0].${field}`,
  });
});

it("takes huge pages that the host has", async () => {
  await checkHostMemory(daemon, facts, { reservedHugepages: [{ node: 0, sizeKiB: 2048, count: 512 }] });
});

it.each([
  { fileBackedMiB: 0 },
  { reservedHugepages: [{ node: -1, sizeKiB: 2048, count: 1 }] },
  {
    reservedHugepages: [
      { node: 0, sizeKiB: 2048, count: 1 },
      { node: 0, sizeKiB: 2048, count: 2 },
    ],
  },
])("refuses a mistake before anything is touched: %j", (memory) => {
  expect(() => new LibvirtDriver({ stateDirectory: "/nowhere", memory })).toThrow(
    expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error,
  );
});

it("does not open where guests can't have memory in files, or the pages are not there", async () => {
  await expect(checkHostMemory(daemon, { virtType: "lxc", machines: [] }, { fileBackedMiB: 1 })).rejects.toMatchObject({
    code: "NOT_SUPPORTED",
  });
  const stage = await openStage({ memory: { reservedHugepages: [{ node: 7, sizeKiB: 2048, count: 1 }] } }, false);
  await expect(stage.driver.initHost()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

it("counts the files as the host's memory, and gives every guest its memory there", async () => {
  const stage = await openStage({ memory: { fileBackedMiB: 4_096 } });
  expect(await stage.driver.getAvailableResource()).toMatchObject({ memoryMiB: 4_096, memoryUsedMiB: 0 });
  expect((await stage.driver.getInventory())["MEMORY_MB"]?.total).toBe(4_096);
  const spec = smallSpec();
  await stage.driver.spawn(spec);
  const { memoryMiB } = spec.flavor;
  expect(await stage.driver.getAvailableResource()).toMatchObject({ memoryMiB: 4_096, memoryUsedMiB: memoryMiB });
  const { domain } = (await stage.driver.plan(spec)).hypervisor as LibvirtPlan;
  expect(domain.memoryBacking).toEqual({
    source: { type: "file" },
    access: { mode: "shared" },
    allocation: { mode: "immediate" },
    discard: true,
  });
  for (const memory of [{ backing: "hugepages" } as const, { shared: false } as const])
    await expect(stage.driver.plan({ ...spec, hardware: { memory } })).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
  await stage.driver.destroy(instance);
  expect((await stage.driver.getAvailableResource()).memoryUsedMiB).toBe(0);
});

it("reckons with what is free where a hypervisor has no statistics of memory", async () => {
  const stage = await openStage();
  const { memoryMiB } = await stage.driver.getAvailableResource();
  stage.host.faults.refuse("nodeGetMemoryStats", { code: ErrorNumber.noSupport, domain: ErrorDomain.none });
  const { memoryMiB: total, memoryUsedMiB: used } = await stage.driver.getAvailableResource();
  expect(total).toBe(memoryMiB);
  expect(used).toBeGreaterThanOrEqual(0);
  expect(used).toBeLessThanOrEqual(total);
});
