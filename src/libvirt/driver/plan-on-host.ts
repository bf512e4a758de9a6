/** A guest's domain on this host: the planner, given what only the host and the guest's state know. */
import type { GuestDefinition } from "../../driver/index.js";
import type { DomainXml } from "../xml/index.js";
import { containerFilesOf } from "./container-files.js";
import { serialPortsOf } from "./console/serial-console.js";
import type { SerialConsole } from "./console/serial-console.js";
import type { LibvirtHost } from "./host.js";
import { mediatedUuidsOf } from "./mediated/held-device.js";
import { planDomain } from "./plan/index.js";
import type { DomainPlanOptions } from "./plan/index.js";
import { runsQemu } from "./host.js";
import { secretUuidsOf } from "./secrets.js";
import type { GuestState } from "./state/guest-state.js";

/** What of a guest's state goes into its plan. */
export type KeptState = Pick<GuestState, "machineType" | "generationId" | "serialConsole" | "mediated">;

/** What a plan of a guest is made with. Pure. */
export function planOptionsOf(host: LibvirtHost, definition: GuestDefinition, kept?: KeptState): DomainPlanOptions {
  const { machineType, generationId, mediated } = kept ?? {};
  const serialConsole = runsQemu(host) ? serialConsoleOf(host, definition, kept) : undefined;
  const files = host.store.files(definition.uuid);
  return {
    ...ownOptions(host),
    indirectDisks: host.directIo.indirect(definition.disks),
    secretUuids: secretUuidsOf(definition),
    mediatedUuids: mediatedUuidsOf(definition, mediated),
    ...(runsQemu(host) ? { consoleLogPath: files.consoleLog } : {}),
    ...(host.options.virtType === "lxc" ? { containerFiles: containerFilesOf(definition, files) } : {}),
    ...(host.options.memory.fileBackedMiB === undefined ? {} : { fileMemory: true }),
    ...(serialConsole === undefined ? {} : { serialConsole }),
    ...(machineType === undefined ? {} : { machineType }),
    ...(generationId === undefined ? {} : { generationId }),
  };
}

/** What the host's administrator has decided. */
function ownOptions({ options, facts }: LibvirtHost): DomainPlanOptions {
  const { machineSerial = "instance", ...rest } = options.domainDefaults;
  if (machineSerial === "instance") return rest;
  const serial = machineSerial === "host" ? facts.hostUuid : undefined;
  return { ...rest, machineSerial: serial ?? false };
}

/** What a guest holds is what it has; whoever holds nothing yet, or not enough, is going to get something like it. */
function serialConsoleOf(
  { serialPorts }: LibvirtHost,
  definition: GuestDefinition,
  kept: KeptState | undefined,
): SerialConsole | undefined {
  const held = kept?.serialConsole;
  if (held !== undefined && held.ports.length === serialPortsOf(definition)) return held;
  return held === undefined && kept !== undefined ? undefined : serialPorts.example(definition);
}

/** @throws InvalidArgumentError, NotSupportedError */
export function planOnHost(host: LibvirtHost, definition: GuestDefinition, kept?: KeptState): DomainXml {
  return planDomain(definition, host.facts, planOptionsOf(host, definition, kept));
}
