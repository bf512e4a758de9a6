/** Arguments for QEMU that an operator adds, which may not touch what the driver relies on. Pure. */
import { InvalidArgumentError, check } from "../../core/index.js";
import type { Check, JsonObject } from "../../core/index.js";

/** What `platform.kvm` of a definition may hold. */
export interface KvmPlatform {
  /** Added to QEMU's command line as they are, each one argument. For operators: nothing of a tenant's belongs here. */
  readonly extraArguments?: readonly string[];
}

const shape: Check<KvmPlatform> = check.object({
  extraArguments: check.optional(check.array(check.string({ max: 4096 }), { max: 256 })),
});

/** Options that the driver sets itself, or that would take QEMU out of its hands. */
const OURS: ReadonlySet<string> = new Set(
  [
    "name uuid pidfile nodefaults nodefconfig no-user-config S sandbox msg display nographic machine M accel enable-kvm cpu smp m mem-path mem-prealloc",
    "overcommit numa rtc mon monitor qmp qmp-pretty kernel initrd append boot action no-reboot no-shutdown incoming daemonize runas chroot run-with",
    "preconfig readconfig writeconfig loadvm snapshot set add-fd vnc spice k tpmdev watchdog watchdog-action bios pflash only-migratable h help version",
  ].flatMap((names) => names.split(" ")),
);

/** Ids that the driver gives or may give to what it plugs later. */
const NUMBERED = [
  "disk nic device memory port ram iothread serial cpu vcpu virtiomem console agent balloon video vserial entropy rng usb ahci scsi fdc panic",
  "sound watchdog vsock pointer audio tpm tpm-device generation vdagent vnc-tls",
].flatMap((names) => names.split(" "));
const NAMED = "console agent monitor monitor-path monitor-tools vdagent tpm-socket".split(" ");
const RESERVED = new RegExp(
  `^(?:(?:${NUMBERED.join("|")})\\d+(?:[-.].*)?|${NAMED.join("|")}|(?:flash|fs|hypervise)-.*)$`,
);

/** The operator's arguments. @throws InvalidArgumentError that names the one at fault */
export function extraArguments(platform: JsonObject | undefined, path: string): readonly string[] {
  if (platform === undefined) return [];
  const { extraArguments: extra = [] } = shape(platform, path);
  extra.forEach((argument, index) => {
    const field = `${path}.extraArguments[${index}]`;
    const option = /^--?([A-Za-z][\w-]*)$/.exec(argument)?.[1];
    if (argument.startsWith("-") && (option === undefined || OURS.has(option)))
      throw new InvalidArgumentError({
        field,
        value: argument,
        expected: "an option that the driver does not set itself",
      });
    if (!argument.startsWith("-") && !(extra[index - 1] ?? "").startsWith("-"))
      throw new InvalidArgumentError({ field, value: argument, expected: "an option, or the value of the one before" });
    const ids = option === undefined ? idsIn(argument) : [];
    // QEMU reads more kinds of JSON than there are: what we can't read may hold any id.
    if (ids === undefined) throw new InvalidArgumentError({ field, value: argument, expected: "JSON" });
    const taken = ids.find((id) => RESERVED.test(id));
    if (taken !== undefined)
      throw new InvalidArgumentError({ field, value: taken, expected: "an id that the driver does not give itself" });
  });
  return extra;
}

/** All ids that a value defines, as JSON or as `key=value` pairs. */
function idsIn(value: string): readonly string[] | undefined {
  if (/^\s*\{/.test(value)) return idsOfJson(value);
  const pairs = value.replaceAll(",,", "\0").split(",");
  return pairs.flatMap((pair) => /^(?:id|node-name)=(.*)$/s.exec(pair)?.[1]?.replaceAll("\0", ",") ?? []);
}

function idsOfJson(value: string): readonly string[] | undefined {
  const ids: string[] = [];
  try {
    JSON.parse(value, (key, member: unknown) => {
      if ((key === "id" || key === "node-name") && typeof member === "string") ids.push(member);
      return member;
    });
  } catch {
    return undefined;
  }
  return ids;
}
