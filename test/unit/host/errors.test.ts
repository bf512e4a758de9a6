import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import {
  CommandError,
  CommandNotFoundError,
  FdPassingError,
  HostIoError,
  LockedError,
  NativeModuleMissingError,
  TapError,
  errnoName,
} from "../../../src/host/index.js";

describe("errnoName", () => {
  it("reads a system error however it was reported", () => {
    const cases: readonly [unknown, string | undefined][] = [
      [{ code: "ENOENT" }, "ENOENT"],
      [{ code: "16" }, "EBUSY"],
      [{ code: 22 }, "EINVAL"],
      [{ errno: -28 }, "ENOSPC"],
      [{ errno: 11 }, "EAGAIN"],
      [{ code: "100000" }, "100000"],
      [{ code: "ERR_INVALID_ARG_TYPE" }, undefined],
      [{}, undefined],
      [new Error("x"), undefined],
      ["ENOENT", undefined],
      [null, undefined],
    ];
    for (const [error, name] of cases) expect(errnoName(error)).toBe(name);
  });
});

describe("the errors of the host", () => {
  const cause = Object.assign(new Error("low"), { code: "ENOSPC" });
  const cases = [
    [
      new HostIoError({ operation: "writing a file", path: "/host/path", cause }),
      "HOST_IO",
      "writing a file failed on the host (ENOSPC)",
    ],
    [
      new CommandError({ argv: ["/usr/sbin/nft", "-f", "/host/path"], exitCode: 1, stderr: "/host/path" }),
      "COMMAND_FAILED",
      "nft exited with status 1",
    ],
    [new CommandNotFoundError("/host/path/nft"), "COMMAND_NOT_FOUND", "the command nft is not installed"],
    [
      new NativeModuleMissingError("opening a TAP", ["a", "b"]),
      "NATIVE_MODULE_MISSING",
      "opening a TAP needs a or b, and it can't be loaded",
    ],
    [new LockedError(5, { detail: "/host/path" }), "LOCKED", "another process is using it"],
    [new TapError({ operation: "opening a TAP", cause: { code: "16" } }), "TAP_FAILED", "opening a TAP failed (EBUSY)"],
    [new FdPassingError("no", "EPIPE"), "FD_PASSING_FAILED", "no (EPIPE)"],
  ] as const;

  it.each(cases)("%s: code %s, message %s, and no path of the host for tenants", (error, code, message) => {
    expect(error).toMatchObject({ code, message });
    expect(String(error.stack).startsWith(`${error.name}: `)).toBe(true);
    expect(error.name).toBe(error.constructor.name);
    expect(JSON.stringify(error)).not.toContain("/host/path");
  });

  it("show no secret in paths, arguments or output", () => {
    const secrets = ["hunter2"];
    const errors = [
      new HostIoError({ operation: "reading", path: "/run/hunter2", cause: new Error("hunter2"), secrets }),
      new CommandError({ argv: ["x", "hunter2"], exitCode: 1, stderr: "hunter2", secrets }),
      new TapError({ operation: "opening", tap: "hunter2", cause: new Error("hunter2"), secrets }),
    ];
    for (const error of errors) {
      expect(
        inspect(error, { depth: Infinity, showHidden: true }) + JSON.stringify(error.toOperatorJSON()),
      ).not.toContain("hunter2");
    }
  });

  it("keep only the end of what a command said, but a secret cut in two is still hidden", () => {
    const stderr = `hunter2${"x".repeat(4_093)}`;
    const error = new CommandError({ argv: ["x"], exitCode: 1, stderr, secrets: ["hunter2"] });
    expect(error.stderr).not.toMatch(/nter2|er2/);
  });
});
