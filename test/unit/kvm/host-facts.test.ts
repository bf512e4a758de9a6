import { describe, expect, it } from "vitest";
import {
  parseCpu,
  parseCpuList,
  parseCpuTimes,
  parseMemory,
  readHostCpuStatistics,
} from "../../../src/kvm/host-facts.js";

const processor = (id: number, physical: number): string =>
  `processor\t: ${id}\nvendor_id\t: GenuineIntel\nmodel name\t: Some CPU @ 2.00GHz\nphysical id\t: ${physical}\ncpu cores\t: 2\nflags\t\t: fpu vme  sse2\n`;

describe("what /proc says of the host", () => {
  it("gives memory that is used as what is not available", () => {
    const text = "MemTotal:       16000000 kB\nMemFree:         100 kB\nMemAvailable:    4000000 kB\n";
    expect(parseMemory(text)).toEqual({ totalKiB: 16_000_000, availableKiB: 4_000_000 });
    expect(parseMemory("nonsense")).toEqual({ totalKiB: 0, availableKiB: 0 });
  });

  it("gives the CPU and how processors are arranged", () => {
    const eight = Array.from({ length: 8 }, (_, i) => processor(i, i >> 2)).join("\n");
    expect(parseCpu(eight)).toMatchObject({
      vendor: "GenuineIntel",
      model: "Some CPU @ 2.00GHz",
      topology: { sockets: 2, cores: 2, threads: 2 },
      features: ["fpu", "vme", "sse2"],
    });
    expect(parseCpu("")).toMatchObject({ topology: { sockets: 1, cores: 1, threads: 1 }, features: [] });
  });

  it("gives CPU times in nanoseconds", () => {
    expect(parseCpuTimes("cpu  10 1 20 300 4 5 6 7 8 9\ncpu0 1 1 1 1\n")).toEqual({
      userNs: 110_000_000n,
      kernelNs: 380_000_000n,
      idleNs: 3_000_000_000n,
      ioWaitNs: 40_000_000n,
    });
    expect(parseCpuTimes("")).toEqual({ userNs: 0n, kernelNs: 0n, idleNs: 0n, ioWaitNs: 0n });
  });

  it("reads lists of CPUs", () => {
    expect(parseCpuList("0-3,8,10-11")).toEqual([0, 1, 2, 3, 8, 10, 11]);
    expect(parseCpuList("")).toEqual([]);
  });

  it("is there on this host", async () => {
    const { idleNs, userNs } = await readHostCpuStatistics();
    expect(idleNs + userNs).toBeGreaterThan(0n);
  });
});
