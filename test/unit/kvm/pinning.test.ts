import { describe, expect, it } from "vitest";
import { checkPinning } from "../../../src/kvm/pinning/check-pinning.js";
import { ioThreadNumber, planPinning } from "../../../src/kvm/pinning/pinning-plan.js";

const threads = {
  vcpus: new Map([
    [0, 100],
    [1, 101],
  ]),
  ioThreads: new Map([[0, 200]]),
  all: [1, 100, 101, 200, 7],
};

describe("the CPUs of a guest's threads", () => {
  it("are set for those that have some", () => {
    expect(planPinning({ vcpus: [[], [3]] }, threads)).toEqual([{ thread: 101, cpus: [3], lasting: true }]);
    expect(planPinning({ ioThreads: [[2]] }, threads)).toEqual([{ thread: 200, cpus: [2], lasting: true }]);
    expect(planPinning({}, threads)).toEqual([]);
  });

  it("bind the emulator's threads, and free those that inherited from it", () => {
    expect(planPinning({ emulator: [0], vcpus: [[1]] }, threads)).toEqual([
      { thread: 1, cpus: [0], lasting: false },
      { thread: 7, cpus: [0], lasting: false },
      { thread: 100, cpus: [1], lasting: true },
      { thread: 101, cpus: "all", lasting: true },
      { thread: 200, cpus: "all", lasting: true },
    ]);
  });

  it("are by number for I/O threads", () => {
    expect(ioThreadNumber("iothread12")).toBe(12);
    expect(ioThreadNumber("main")).toBeUndefined();
  });

  it("must be the host's", () => {
    const pinned = (cpu: number): { hardware: { cpu: { pinning: { vcpus: number[][] } } } } => ({
      hardware: { cpu: { pinning: { vcpus: [[], [cpu]] } } },
    });
    expect(() => checkPinning(pinned(8_000))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: "definition.hardware.cpu.pinning.vcpus[1][0]" }),
    );
    expect(() => checkPinning({})).not.toThrow();
  });
});
