/** Definitions whose texts try to be more than text. */
import fc from "fast-check";
import type { GuestDefinition } from "../../../../src/driver/index.js";
import type { DomainPlanOptions } from "../../../../src/libvirt/driver/plan/index.js";
import { definitionOf, diskOf, nicOf } from "./plan-cases.js";
import { anyCodePoint } from "../../any-code-point.js";

export interface HostilePlan {
  readonly definition: GuestDefinition;
  readonly options: DomainPlanOptions;
}

const hostile = fc.oneof(
  fc.constantFrom(
    "'/><disk type='file'><source file='/etc/shadow'/></disk>",
    '"><!-- ',
    "]]></name><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>",
    "&b;&#0;&lt;",
    "a\u0000b",
    "a\ud800b",
    "a\r\n\tb",
    "\ufffe\u2028",
    " a ",
    "__proto__",
    "../../etc",
    "x".repeat(300),
  ),
  fc.string({ unit: anyCodePoint, maxLength: 24 }),
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }),
);
/** Mostly what is right, so that single bad values get as far as they can. */
const mostly = (good: string): fc.Arbitrary<string> =>
  fc.oneof({ weight: 25, arbitrary: fc.constant(good) }, { weight: 1, arbitrary: hostile });
const path = fc.oneof(
  { weight: 12, arbitrary: mostly("/srv/a") },
  { weight: 1, arbitrary: hostile.map((text) => `/${text}`) },
);

const serial = mostly("s-1");
export const hostilePlan: fc.Arbitrary<HostilePlan> = fc
  .record({
    name: mostly("instance-1"),
    diskId: mostly("root"),
    deviceName: mostly("vda"),
    serial,
    file: path,
    nicId: mostly("nic"),
    tap: mostly("tap0"),
    bridge: mostly("br0"),
    kernel: path,
    commandLine: mostly("console=ttyS0"),
    tag: mostly("data"),
    directory: path,
    system: mostly("m"),
    oem: mostly("o"),
    keymap: mostly("de"),
    metadata: fc.dictionary(mostly("key"), fc.oneof(hostile, fc.constant("value")), { maxKeys: 2 }),
    tagged: mostly("boot"),
    log: path,
    socket: path,
  })
  .map((value) => ({
    definition: definitionOf({
      name: value.name,
      disks: [
        diskOf({
          id: value.diskId,
          deviceName: value.deviceName,
          serial: value.serial,
          source: { type: "file", format: "raw", path: value.file },
        }),
      ],
      nics: [
        nicOf({ id: value.nicId, backend: { type: "tap", deviceName: value.tap, bridge: value.bridge, queues: 1 } }),
        nicOf({
          id: "second",
          macAddress: "52:54:00:00:00:02",
          backend: { type: "vhostUser", socketPath: value.socket, server: "switch", queues: 1 },
        }),
      ],
      kernel: { kernelPath: value.kernel, commandLine: value.commandLine },
      hardware: {
        filesystems: [{ tag: value.tag, path: value.directory, driver: "9p" }],
        smbios: { system: { manufacturer: value.system }, oemStrings: [value.oem] },
        vnc: { address: "127.0.0.1", keymap: value.keymap },
      },
    }),
    options: { metadata: value.metadata, tags: { root: value.tagged }, consoleLogPath: value.log },
  }));
