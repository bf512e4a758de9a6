import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../../src/core/index.js";
import { UNLAUNCHED, interpret } from "../../../src/kvm/events.js";
import type { ProcessEnd } from "../../../src/kvm/events.js";
import { GuestCore } from "../../../src/kvm/guest-core.js";
import { guestListener } from "../../../src/kvm/guest-listener.js";
import type { KvmHost } from "../../../src/kvm/host.js";
import { usedMiB } from "../../../src/kvm/hotplug/balloon.js";
import { setVcpus } from "../../../src/kvm/hotplug/vcpus.js";
import { isVcpuName, vcpuName, vcpuSlots } from "../../../src/kvm/hotplug/vcpu-slots.js";
import { setMemory } from "../../../src/kvm/hotplug/memory.js";
import { bindDevice, bindMemory, planHardware } from "../../../src/kvm/plan/hardware.js";
import type { Hardware } from "../../../src/kvm/plan/hardware.js";
import type { RunningProcess } from "../../../src/kvm/process.js";
import { formatGuestState, parseGuestState } from "../../../src/kvm/state/guest-state.js";
import type { GuestState } from "../../../src/kvm/state/guest-state.js";
import { endedState, withoutDevice } from "../../../src/kvm/state/state-changes.js";
import { DEFAULT_KVM_TIMEOUTS } from "../../../src/kvm/timeouts.js";
import { FakeQmpServer } from "../../../src/testing/index.js";
import { waitFor } from "../../lab/wait-for.js";
import { UUID, definition } from "./definitions.js";

const code = (value: string): Error => expect.objectContaining({ code: value }) as Error;
const policy = { machineType: "pc-q35-7.2", hotplugPorts: 2 };
const growing = definition({
  vcpus: 2,
  hardware: { cpu: { maxVcpus: 4 }, memory: { maxMiB: 1024, slots: 2 } },
});

function stateOf(hardware: Hardware = planHardware(growing, "q35", policy)): GuestState {
  return { version: 1, definition: growing, hardware };
}

const process: RunningProcess = {
  identity: { pid: 1, startTime: 1 },
  ended: new Promise<ProcessEnd>(() => undefined),
  over: false,
  hungUp: () => undefined,
  kill: () => Promise.resolve(),
  waitEnded: () => Promise.resolve(),
};

let server: FakeQmpServer;
let core: GuestCore;
/** Paths of the vCPUs that QEMU has, by place; the first are the machine's own. */
let filled: Map<number, string>;
let asked: string[];

beforeEach(async () => {
  server = await new FakeQmpServer().listen();
  filled = new Map([
    [0, "/machine/unattached/device[0]"],
    [1, "/machine/unattached/device[2]"],
  ]);
  asked = [];
  const host = {
    store: { files: () => ({ monitor: server.path }), save: () => Promise.resolve() },
    access: { revokeAll: () => Promise.resolve() },
    accelerator: "kvm",
    clock: systemClock,
    timeouts: { ...DEFAULT_KVM_TIMEOUTS, letGoMs: 2_000 },
    emit: () => undefined,
  } as unknown as KvmHost;
  core = new GuestCore(host, stateOf());
  const slots = (): object[] =>
    [3, 2, 1, 0].map((index) => ({
      type: "qemu64-x86_64-cpu",
      "vcpus-count": 1,
      props: { "socket-id": index, "core-id": 0, "thread-id": 0 },
      ...(filled.has(index) ? { "qom-path": filled.get(index) } : {}),
    }));
  server.on("query-hotpluggable-cpus", slots);
  server.on("device_add", (command) => {
    const { id, "socket-id": index } = command.args as unknown as { id: string; "socket-id": number };
    asked.push(`add ${id}`);
    filled.set(index, `/machine/peripheral/${id}`);
    return {};
  });
  server.on("device_del", (command) => {
    asked.push(`del ${String(command.args["id"])}`);
    return {};
  });
  const session = core.follow(
    process,
    { ...guestListener(core), resync: () => Promise.resolve() },
    {
      ...UNLAUNCHED,
      state: "running",
      launched: true,
    },
  );
  await session.keepConnected();
});
afterEach(async () => {
  await core.release();
  await server.close();
});

/** The guest lets go of what was asked for last. */
function letGo(index: number, event: object): void {
  filled.delete(index);
  server.emit("DEVICE_DELETED", event);
}

describe("a guest's vCPUs", () => {
  it("fill the first places, and leave the last", async () => {
    await setVcpus(core, 4, {});
    expect(asked).toEqual(["add vcpu2", "add vcpu3"]);
    const going = setVcpus(core, 1, {});
    await waitFor(() => asked.includes("del vcpu3"));
    letGo(3, { device: "vcpu3", path: "/machine/peripheral/vcpu3" });
    await waitFor(() => asked.includes("del vcpu2"));
    letGo(2, { device: "vcpu2", path: "/machine/peripheral/vcpu2" });
    // One that the guest was started with has no id.
    await waitFor(() => asked.includes("del /machine/unattached/device[2]"));
    letGo(1, { path: "/machine/unattached/device[2]" });
    await going;
    expect(core.definition).toMatchObject({ vcpus: 1, hardware: { cpu: { maxVcpus: 4 } } });
  });

  it("stay when the guest refuses, which it says by place alone for some", async () => {
    const going = setVcpus(core, 1, {});
    await waitFor(() => asked.length === 1);
    const info = { slot: "1", "slot-type": "CPU", source: 3, status: 0x84 };
    server.emit("ACPI_DEVICE_OST", { info });
    server.emit("ACPI_DEVICE_OST", { info: { ...info, status: 1 } });
    await expect(going).rejects.toMatchObject({ code: "DEVICE_DETACH_FAILED", device: "vcpu1" });
    expect(core.definition.vcpus).toBe(2);
  });

  it("are the guest's for as long as it has not let go, whoever waits", async () => {
    await expect(setVcpus(core, 1, { deadline: 20 })).rejects.toMatchObject({ code: "DEVICE_DETACH_FAILED" });
    const controller = new AbortController();
    const going = setVcpus(core, 1, { signal: controller.signal });
    controller.abort();
    await expect(going).rejects.toMatchObject({ code: "ABORTED" });
    expect(core.definition.vcpus).toBe(2);
    letGo(1, { path: "/machine/unattached/device[2]" });
    await waitFor(() => core.definition.vcpus === 1);
  });

  it("are refused by QEMU with its words, and what was given before stays", async () => {
    let count = 0;
    server.on("device_add", () => {
      if (count++ > 0) throw Object.assign(new Error("no more"), { class: "GenericError", desc: "no more" });
      filled.set(2, "/machine/peripheral/vcpu2");
      return {};
    });
    await expect(setVcpus(core, 4, {})).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED", device: "vcpu3" });
    expect(core.definition.vcpus).toBe(3);
  });

  it("have places in the order in which QEMU numbers them", () => {
    const slot = (socket: number, thread: number): object => ({
      type: "t",
      "vcpus-count": 1,
      props: { "socket-id": socket, "core-id": 0, "thread-id": thread },
    });
    const order = vcpuSlots([slot(10, 0), slot(2, 1), slot(2, 0)] as never);
    expect(order.map(({ props }) => [props["socket-id"], props["thread-id"]])).toEqual([
      [2, 0],
      [2, 1],
      [10, 0],
    ]);
    expect(vcpuName({ ...order[0]!, path: "/machine/peripheral/vcpu7" })).toBe("vcpu7");
    expect([isVcpuName("vcpu7"), isVcpuName("/machine/unattached/device[3]"), isVcpuName("disk1")]).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe("a guest's memory", () => {
  it("has its record before QEMU is asked, and loses it with what QEMU refuses", async () => {
    server.on("object-add", () => {
      asked.push("object-add");
      expect(core.state.hardware.bindings.at(-1)).toMatchObject({ kind: "memory", phase: "attaching", sizeMiB: 128 });
      return {};
    });
    server.on("object-del", () => {
      asked.push("object-del");
      return {};
    });
    server.on("device_add", () => {
      throw Object.assign(new Error("a bit of it"), { class: "GenericError", desc: "no" });
    });
    await expect(setMemory(core, 256, {})).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    expect(asked).toEqual(["object-add", "object-del"]);
    expect(core.definition.memoryMiB).toBe(128);
    expect(core.state.hardware).not.toHaveProperty("bootMemoryMiB");
  });

  it("stays when the guest refuses to let go of it", async () => {
    server.on("object-add", () => ({}));
    server.on("device_add", () => ({}));
    await setMemory(core, 256, {});
    const { handle } = core.state.hardware.bindings.at(-1)!;
    const going = setMemory(core, 128, {});
    await waitFor(() => asked.length === 1);
    server.emit("MEM_UNPLUG_ERROR", { device: handle, msg: "busy" });
    await expect(going).rejects.toMatchObject({ code: "DEVICE_DETACH_FAILED", device: handle });
    expect(core.definition.memoryMiB).toBe(256);
    expect(core.state.hardware.bindings.at(-1)).not.toHaveProperty("phase");
  });

  it("is asked for again while the guest is silent, whatever QEMU says to that, until it lets go", async () => {
    Object.assign(core.host.timeouts, { detachResendMs: 5 });
    server.on("object-add", () => ({}));
    server.on("object-del", () => ({}));
    server.on("device_add", () => ({}));
    server.on("device_del", () => {
      if (asked.push("del") > 1) throw Object.assign(new Error("asked"), { class: "GenericError", desc: "already" });
      return {};
    });
    await setMemory(core, 256, {});
    const { handle } = core.state.hardware.bindings.at(-1)!;
    const going = setMemory(core, 128, {});
    await waitFor(() => asked.length >= 3);
    server.emit("DEVICE_DELETED", { device: handle, path: `/machine/peripheral/${handle}` });
    await going;
    expect(core.definition.memoryMiB).toBe(128);
  });

  it("has slots, of which there are only so many", () => {
    const base = planHardware(growing, "q35", policy);
    const full = bindMemory(bindMemory(base, 2, 128, 128), 2, 256, 128);
    expect(full.bindings.slice(-2).map(({ slot }) => slot)).toEqual([0, 1]);
    expect(() => bindMemory(full, 2, 128, 128)).toThrow(
      expect.objectContaining({ code: "NO_FREE_SLOT", message: expect.stringContaining("memory slot") as string }),
    );
    const state: GuestState = { ...stateOf(full), definition: { ...growing, memoryMiB: 512 } };
    expect(parseGuestState(formatGuestState(state), UUID, "x")).toEqual(state);
    const [module] = full.bindings.slice(-1);
    expect(withoutDevice(state, module!).definition.memoryMiB).toBe(256);
    // What it was asked to let go of, a guest that has ended does not have.
    const detaching = full.bindings.map((binding) =>
      binding.kind === "memory" ? { ...binding, phase: "detaching" as const } : binding,
    );
    const ended = endedState({ ...state, hardware: { ...full, bindings: detaching } }, { state: "shutdown", at: 1 });
    expect(ended.definition.memoryMiB).toBe(128);
    expect(ended.hardware).not.toHaveProperty("bootMemoryMiB");
  });

  it("is used as far as the guest says, and not where it does not", () => {
    const stats = { "stat-total-memory": 400 * 1_048_576, "stat-available-memory": 100 * 1_048_576 };
    expect(usedMiB({ stats, "last-update": 1 })).toBe(300);
    expect(usedMiB({ stats: { ...stats, "stat-available-memory": 18446744073709551615n } })).toBeUndefined();
    for (const odd of [undefined, {}, { stats: 1 }, { stats: {} }, { stats: { "stat-total-memory": "x" } }])
      expect(usedMiB(odd)).toBeUndefined();
  });
});

describe("devices beside disks and NICs", () => {
  it("have places on the bus that they are for, and keep them", () => {
    const devices = [
      { type: "usbInput", id: "pointer", model: "tablet" },
      { type: "pciHost", id: "gpu", address: "0000:3b:00.0" },
    ] as const;
    const planned = planHardware(definition({ hardware: { devices } }), "q35", policy);
    expect(planned.bindings.filter(({ kind }) => kind === "device")).toMatchObject([
      { id: "pointer", pool: "usb", slot: 0 },
      { id: "gpu", pool: "port" },
    ]);
    const again = planHardware(definition({ hardware: { devices: devices.slice(1) } }), "q35", policy, planned);
    expect(again.bindings.find(({ id }) => id === "gpu")).toEqual(planned.bindings.find(({ id }) => id === "gpu"));
    expect(again.bindings.some(({ id }) => id === "pointer")).toBe(false);
  });

  it("have no place on a machine without their bus, or when all are taken", () => {
    const microvm = planHardware(definition({ disks: [], nics: [] }), "microvm", policy);
    expect(() => bindDevice(microvm, { type: "usbInput", id: "x" })).toThrow(code("NOT_SUPPORTED"));
    let hardware = planHardware(definition(), "q35", policy);
    const fill = (): void => {
      for (let at = 0; at < 300; at++) hardware = bindDevice(hardware, { type: "usbInput", id: `x${at}` });
    };
    expect(fill).toThrow(
      expect.objectContaining({ code: "NO_FREE_SLOT", message: expect.stringContaining("USB port") as string }),
    );
  });

  it("are told of by QEMU's events by id, or by path where they have none", () => {
    const reports = (event: string, data: object): unknown =>
      interpret(UNLAUNCHED, { event, data, timestamp: { seconds: 1, microseconds: 0 } } as never, undefined, false)
        .reports;
    expect(reports("DEVICE_DELETED", { path: "/machine/peripheral/nic1/virtio-backend" })).toEqual([]);
    expect(reports("DEVICE_DELETED", { path: "/machine/unattached/device[2]" })).toEqual([
      { type: "unplugged", handle: "/machine/unattached/device[2]" },
    ]);
    const ost = { slot: "0", "slot-type": "DIMM", source: 3, status: 0x81, device: "memory1" };
    expect(reports("ACPI_DEVICE_OST", { info: ost })).toEqual([{ type: "unplugRefused", handle: "memory1" }]);
    for (const odd of [undefined, null, 1, {}, { ...ost, status: 0 }, { ...ost, source: 1 }, { ...ost, device: 5 }])
      expect(reports("ACPI_DEVICE_OST", { info: odd })).toEqual([]);
  });
});
