import { describe, expect, it } from "vitest";
import {
  checkCpus,
  defaultAffinitySetter,
  onlineCpus,
  parseCpuList,
  setThreadAffinity,
} from "../../../src/host/index.js";

const failing = (code: string) => (): never => {
  throw Object.assign(new Error(code), { code });
};
const code = (value: string): Error => expect.objectContaining({ code: value }) as Error;

describe("binding a thread to CPUs", () => {
  it("gives the kernel one bit a CPU", () => {
    const [cpu = 0] = onlineCpus();
    const given: [number, Buffer][] = [];
    setThreadAffinity(7, [cpu], (thread, mask) => given.push([thread, mask]));
    setThreadAffinity(8, "all", (thread, mask) => given.push([thread, mask]));
    expect(given.map(([thread]) => thread)).toEqual([7, 8]);
    const bits = [...(given[0]?.[1] ?? [])]
      .flatMap((byte, at) => Array.from({ length: 8 }, (_, bit) => ((byte >> bit) & 1 ? at * 8 + bit : -1)))
      .filter((bit) => bit >= 0);
    expect(bits).toEqual([cpu]);
    expect(new Set(given[1]?.[1])).toEqual(new Set([0xff]));
  });

  it("refuses CPUs that are not there, and none", () => {
    const never = (): never => expect.fail("called");
    expect(() => setThreadAffinity(1, [8_191], never)).toThrow(code("INVALID_ARGUMENT"));
    expect(() => setThreadAffinity(1, [], never)).toThrow(code("INVALID_ARGUMENT"));
    expect(() => checkCpus([-1], "spec.cpus")).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: "spec.cpus[0]" }),
    );
  });

  it("says why the kernel refused", () => {
    const cpus = onlineCpus().slice(0, 1);
    expect(() => setThreadAffinity(1, cpus, failing("EINVAL"))).toThrow(code("INVALID_ARGUMENT"));
    expect(() => setThreadAffinity(1, cpus, failing("ESRCH"))).toThrow(
      expect.objectContaining({ code: "HOST_IO", errno: "ESRCH" }),
    );
  });

  it("needs koffi, and says so", () => {
    expect(() => defaultAffinitySetter(failing("MODULE_NOT_FOUND"))).toThrow(
      expect.objectContaining({ code: "NATIVE_MODULE_MISSING", packages: ["koffi"] }),
    );
  });

  it("reads the kernel's lists", () => {
    expect(parseCpuList("0-2,5\n")).toEqual([0, 1, 2, 5]);
    expect(parseCpuList("3")).toEqual([3]);
    expect(parseCpuList("\n")).toEqual([]);
  });
});
