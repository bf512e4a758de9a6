import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isHyperviseError } from "../../../src/core/index.js";
import { parseConnectUri } from "../../../src/libvirt/index.js";

describe("parseConnectUri", () => {
  it.each([
    ["qemu:///system", { driver: "qemu", transport: "unix", path: "/system", daemonUri: "qemu:///system" }],
    [
      "QEMU+TCP://host/system",
      { driver: "qemu", transport: "tcp", host: "host", port: 16_509, daemonUri: "qemu:///system" },
    ],
    ["qemu://host/system", { transport: "tls", host: "host", port: 16_514 }],
    ["qemu+ssh://me@host:2222/session", { transport: "ssh", user: "me", host: "host", port: 2222, path: "/session" }],
    ["qemu+tls://[2001:db8::1]:99/system", { transport: "tls", host: "2001:db8::1", port: 99 }],
    ["lxc://", { driver: "lxc", transport: "unix", path: "", daemonUri: "lxc:///" }],
    ["remote://host/?name=test:///default", { driver: "remote", daemonUri: "test:///default" }],
    ["remote+unix://", { driver: "remote", daemonUri: "" }],
  ])("reads %s", (uri, expected) => {
    expect(parseConnectUri(uri)).toMatchObject(expected);
  });

  it("keeps its own parameters and hands the others to the daemon", () => {
    const uri = parseConnectUri("qemu+unix:///system?SOCKET=/run/a%20b&foo=1&no_verify=1&no_tty=0&=x&mode=direct&bar");
    expect(uri.parameters).toEqual({ socket: "/run/a b", mode: "direct" });
    expect([...uri.flags]).toEqual(["no_verify"]);
    expect(uri.daemonUri).toBe("qemu:///system?foo=1&bar");
  });

  it("parts parameters by semicolons where there is no ampersand", () => {
    expect(parseConnectUri("qemu:///system?socket=/a;mode=legacy").parameters).toEqual({
      socket: "/a",
      mode: "legacy",
    });
  });

  it.each([
    "",
    "qemu",
    "qemu:/system",
    "://host/",
    "qemu+carrier+pigeon://host/",
    "qemu+pigeon://host/system",
    "qemu+unix://host/system",
    "qemu://system",
    "qemu://host:0/system",
    "qemu://host:65536/system",
    "qemu://a b/system",
    "qemu:///system?socket=%zz",
    "qemu:///system?no_tty=maybe",
    "qemu:///system\n",
    `qemu:///${"x".repeat(5000)}`,
  ])("refuses %j", (uri) => {
    expect(() => parseConnectUri(uri)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", field: "uri" }));
  });

  it("answers or refuses whatever it is given, and nothing else", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((tail) => `qemu+tcp://h/${tail}`),
          fc.webUrl(),
        ),
        (uri) => {
          try {
            parseConnectUri(uri);
          } catch (error) {
            expect(isHyperviseError(error, "INVALID_ARGUMENT")).toBe(true);
          }
        },
      ),
    );
  });
});
