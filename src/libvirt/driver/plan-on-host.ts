/** A guest's domain on this host: the planner, given what only the host and the guest's state know. */
import type { GuestDefinition } from "../../driver/index.js";
import type { DomainXml } from "../xml/index.js";
import { containerFilesOf } from "./container-files.js";
import type { LibvirtHost } from "./host.js";
import { planDomain } from "./plan/index.js";
import type { DomainPlanOptions } from "./plan/index.js";
import { runsQemu } from "./host.js";
import { secretUuidsOf } from "./secrets.js";
import type { GuestState } from "./state/guest-state.js";

/** What a plan of a guest is made with. Pure. */
export function planOptionsOf(
  host: LibvirtHost,
  definition: GuestDefinition,
  { machineType, generationId }: Pick<GuestState, "machineType" | "generationId"> = {},
): DomainPlanOptions {
  const files = host.store.files(definition.uuid);
  return {
    ...host.options.domainDefaults,
    secretUuids: secretUuidsOf(definition),
    ...(runsQemu(host) ? { consoleLogPath: files.consoleLog } : {}),
    ...(host.options.virtType === "lxc" ? { containerFiles: containerFilesOf(definition, files) } : {}),
    ...(machineType === undefined ? {} : { machineType }),
    ...(generationId === undefined ? {} : { generationId }),
  };
}

/** @throws InvalidArgumentError, NotSupportedError */
export function planOnHost(
  host: LibvirtHost,
  definition: GuestDefinition,
  kept: Pick<GuestState, "machineType" | "generationId"> = {},
): DomainXml {
  return planDomain(definition, host.facts, planOptionsOf(host, definition, kept));
}
