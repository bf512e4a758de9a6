/** Whether an instance can run on from a template: all that the template's guest has seen must be as it was. Pure. */
import { InvalidArgumentError } from "../core/index.js";
import type { BlockDevice } from "./instance-spec.js";
import type { GuestHardware } from "./guest-hardware.js";
import { sameJson } from "./same-json.js";
import type { StoredSpec } from "./validate-instance-spec.js";
import type { TemplateManifest } from "./facets/templates.js";
import type { Vif } from "../network/index.js";

/** @throws InvalidArgumentError naming the first field of the spec that is not as in the template. */
export function checkTemplateFits(spec: StoredSpec, template: Pick<TemplateManifest, "spec">): void {
  const { path, value, wanted } = firstDifference(spec, template.spec) ?? {};
  if (path === undefined) return;
  const shown = wanted === undefined ? "absent" : JSON.stringify(wanted);
  throw new InvalidArgumentError({
    field: `spec.${path}`,
    value,
    expected: `${shown.length > 200 ? "the template's" : shown}, as in the template`,
  });
}

interface Difference {
  readonly path: string;
  readonly value: unknown;
  readonly wanted: unknown;
}

function firstDifference(spec: StoredSpec, template: StoredSpec): Difference | undefined {
  const mine = seenBy(spec);
  const theirs = seenBy(template);
  const paths = [...new Set([...Object.keys(mine), ...Object.keys(theirs)])];
  const path = paths.find((one) => !sameJson(mine[one] ?? null, theirs[one] ?? null));
  return path === undefined ? undefined : { path, value: mine[path], wanted: theirs[path] };
}

/** What a guest of the spec sees, by the path of each part. */
function seenBy(spec: StoredSpec): Readonly<Record<string, unknown>> {
  const {
    flavor,
    imageId,
    kernel,
    machine,
    firmware = "bios",
    hardware,
    diskTuning,
    platform,
    guestAgent = true,
  } = spec;
  const { name: _name, ...sizes } = flavor;
  const { limits: _limits, ...tuning } = diskTuning ?? {};
  const vifs = spec.vifs ?? [];
  const devices = spec.blockDevices ?? [];
  const drives = devices.map((device, i) => [`blockDevices[${i}]`, driveSeen(device)] as const);
  const nics = vifs.map((vif, i) => [`vifs[${i}]`, nicSeen(vif)] as const);
  return {
    ...below("flavor", { ...sizes, ephemeralGiB: sizes.ephemeralGiB ?? 0, swapMiB: sizes.swapMiB ?? 0 }),
    ...{ imageId, kernel, machine, firmware, guestAgent, platform, diskTuning: tuning },
    ...below("hardware", hardwareSeen(hardware ?? {})),
    "blockDevices.length": devices.length,
    ...Object.fromEntries(drives),
    "vifs.length": vifs.length,
    ...Object.fromEntries(nics),
  };
}

function below(path: string, parts: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(parts).map(([key, value]) => [`${path}.${key}`, value]));
}

/** Without what is the host's alone: where threads run, where consoles listen, the address on the host's vsock. */
function hardwareSeen(hardware: GuestHardware): object {
  const { cpu, spice, vnc, vsock, ...rest } = hardware;
  const { pinning: _pinning, ...cpuSeen } = cpu ?? {};
  return {
    ...rest,
    cpu: cpuSeen,
    vnc: vnc !== undefined,
    spice: spice === undefined ? "none" : { agent: spice.agent ?? true },
    vsock: vsock !== undefined,
  };
}

function driveSeen({ deviceName, bus, deviceType, bootIndex, connection }: BlockDevice): object {
  return {
    deviceName,
    bus,
    deviceType,
    bootIndex,
    ...(connection === undefined ? {} : { volumeId: connection.volumeId }),
  };
}

function nicSeen({ model = "virtio", queues = 1, network }: Vif): object {
  return { model, queues, mtu: network.mtu };
}
