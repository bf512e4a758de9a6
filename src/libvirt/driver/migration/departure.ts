/** Whether a guest can leave for a destination, and as what, before anything is begun. */
import { BusyError, InvalidArgumentError } from "../../../core/index.js";
import type { JsonObject } from "../../../core/index.js";
import { InvalidStateError, MigrationPreCheckError } from "../../../driver/index.js";
import type { GuestMigrationRequest } from "../../../driver/index.js";
import { formatCpuXml, formatDomainXml, parseDomainXml } from "../../xml/index.js";
import type { DomainXml } from "../../xml/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { runsQemu } from "../host.js";
import type { LibvirtHost } from "../host.js";
import { findDisk, readDomain } from "../plan/index.js";
import { destinationDomain } from "./destination-xml.js";
import type { MigrationPlan } from "./steps.js";
import { asJson, fingerprintOf, parseToken } from "./token.js";
import type { MigrationToken } from "./token.js";

/** What a destination has to know to receive a guest. @throws InvalidStateError, what libvirt refuses */
export async function describeGuest(core: GuestCore): Promise<JsonObject> {
  core.requireInMemory("describeMigration");
  const { host, definition, state } = core;
  const { machineType, generationId } = state;
  const { cpu } = await liveDomain(core);
  return asJson({
    version: 1,
    definition,
    virtType: host.options.virtType,
    ...(machineType === undefined ? {} : { machineType }),
    ...(generationId === undefined ? {} : { generationId }),
    ...(state.serialConsole === undefined ? {} : { tcpConsoles: true }),
    // Without the host's help QEMU makes up all of the CPU.
    ...(host.options.virtType !== "kvm" || cpu?.mode !== "custom" ? {} : { cpu: formatCpuXml(cpu) }),
  });
}

/**
 * The destination's token, which has to be for this guest as it is, and for this migration.
 * @throws InvalidArgumentError, MigrationPreCheckError
 */
export function checkToken(core: GuestCore, { token: given, copyDisks }: GuestMigrationRequest): MigrationToken {
  const { instance, definition, host } = core;
  const token = parseToken(given, definition.uuid);
  const refuse = (message: string): MigrationPreCheckError => new MigrationPreCheckError(message, { instance });
  if (token.fingerprint !== fingerprintOf(definition))
    throw refuse("the guest's hardware has changed since the destination was prepared");
  if (token.encrypt !== host.options.migration.encrypt)
    throw refuse(`${token.encrypt ? "the destination" : "the source"} alone wants migrations encrypted`);
  if (copyDisks.length !== token.copyDisks.length || copyDisks.some((id) => !token.copyDisks.includes(id)))
    throw refuse("the destination is not prepared for the disks that are to be copied");
  if (token.tunnel && copyDisks.length > 0) throw refuse("disks don't go through a tunnel");
  return token;
}

/**
 * All that libvirt is told of the migration.
 * @throws InvalidStateError, BusyError, MigrationPreCheckError, InvalidArgumentError
 */
export async function planDeparture(
  core: GuestCore,
  token: MigrationToken,
  request: GuestMigrationRequest,
): Promise<MigrationPlan> {
  const { instance, powerState: state } = core;
  const { work, unsettled = [] } = core.state;
  if (work !== undefined || unsettled.length > 0)
    throw new BusyError("work on the guest's disks or devices is under way", { instance });
  if (state !== "running" && state !== "paused")
    throw new InvalidStateError({ operation: "migrate", state, expected: ["running", "paused"], instance });
  const postcopy = request.allowPostcopy && !token.tunnel;
  return planned(core, token, request, { wasRunning: state === "running", postcopy });
}

/** What libvirt is told to bring the rest of a guest's memory over a new link, when it runs on the destination and the old one has broken. */
export function planResumption(
  core: GuestCore,
  token: MigrationToken,
  bandwidthMiBps: number,
  wasRunning: boolean,
): Promise<MigrationPlan> {
  const { copyDisks } = token;
  const request = { token: {}, copyDisks, bandwidthMiBps, downtimeMs: 1, allowPostcopy: true, autoConverge: false };
  return planned(core, token, request, { wasRunning, postcopy: true, resume: true });
}

function planned(
  core: GuestCore,
  token: MigrationToken,
  request: GuestMigrationRequest,
  how: Pick<MigrationPlan, "wasRunning" | "postcopy" | "resume">,
): Promise<MigrationPlan> {
  return asDriverErrors({ operation: "migrate", instance: core.instance }, async () => {
    const live = await liveDomain(core);
    const kept = parseDomainXml(await core.domain.getXmlDesc({ flags: ["secure", "inactive"], ...core.limits({}) }));
    const there = parseDomainXml(token.xml);
    const found = readDomain(live);
    const targets = token.copyDisks.map((id) => {
      const target = findDisk(found, id)?.target;
      if (target !== undefined) return target;
      throw new InvalidArgumentError({ field: "request.copyDisks", value: id, expected: "a disk of the guest" });
    });
    return {
      token,
      request,
      targets,
      ...how,
      xml: formatDomainXml(destinationDomain(live, there)),
      persistentXml: formatDomainXml(destinationDomain(kept, there)),
    };
  });
}

async function liveDomain({ domain, host }: GuestCore): Promise<DomainXml> {
  const flags = ["secure", ...(runsQemu(host) ? (["migratable"] as const) : [])] as const;
  return parseDomainXml(await domain.getXmlDesc({ flags, deadlineMs: host.timeouts.callMs }));
}

/** From this QEMU on, TCG tells of every write: before, it forgets some of each pass but the first, and the guest breaks on the destination. */
const TCG_NOTICES = 9_000_000;

/** Whether the guest has to stand still while its memory is copied: QEMU has to notice all that it writes meanwhile. */
export async function mustStandStill({ client, options, timeouts }: LibvirtHost): Promise<boolean> {
  if (options.migration.copy === "running" || options.virtType !== "qemu") return false;
  return (await client.getVersion({ deadlineMs: timeouts.callMs })) < TCG_NOTICES;
}
