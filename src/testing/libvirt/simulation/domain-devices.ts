/** Attaching, detaching and changing devices, of the running domain and of its definition. */
import type { FakeLibvirtHandlers } from "../fake-call.js";
import {
  DomainDeviceModifyFlags as MODIFY,
  DomainEventDefinedDetailType as DEFINED,
  DomainEventType as EVENT,
} from "../../../libvirt/rpc/index.js";
import { completeInterface } from "./complete-domain.js";
import { nameDevices } from "./device-names.js";
import { addDevice, findByAlias, findDevice, readDevice, removeDevice } from "./devices.js";
import type { Device, GivenDevice } from "./devices.js";
import { chosen } from "./domain-state.js";
import type { DomainDocument, DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { tellLifecycle } from "./lifecycle.js";
import { checkFlags, invalidOperation, refusal } from "./refuse.js";

type Nothing = Record<string, never>;

export function deviceHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    domainAttachDevice: ({ dom, xml }) => attach(host, host.unlockedDomain(host.activeDomain(dom)), xml, MODIFY.live),
    domainAttachDeviceFlags: ({ dom, xml, flags }) => attach(host, host.unlockedDomain(dom), xml, flags),
    domainDetachDevice: ({ dom, xml }) => detach(host, host.unlockedDomain(host.activeDomain(dom)), xml, MODIFY.live),
    domainDetachDeviceFlags: ({ dom, xml, flags }) => detach(host, host.unlockedDomain(dom), xml, flags),
    domainDetachDeviceAlias({ dom, alias, flags }) {
      const domain = host.unlockedDomain(dom);
      for (const document of chosen(domain, flags)) {
        const found = findByAlias(document, alias);
        if (found === undefined) throw refusal("internalError", "domain", `no device found with alias ${alias}`);
        remove(host, domain, document, found);
      }
      tellDefined(host, domain, flags);
      return {};
    },
    domainUpdateDeviceFlags({ dom, xml, flags }) {
      const domain = host.unlockedDomain(dom);
      const given = readDevice(host, xml);
      for (const document of chosen(domain, flags & ~MODIFY.force)) {
        const known = findDevice(document, given);
        if (known === undefined) throw missing(given);
        const { alias } = known;
        for (const member of Object.keys(known)) delete known[member];
        Object.assign(known, given.device, alias === undefined ? {} : { alias });
      }
      tellDefined(host, domain, flags);
      return {};
    },
  };
}

function attach(host: HostState, domain: DomainRecord, xml: string, flags: number): Nothing {
  checkFlags(flags, MODIFY.live | MODIFY.config);
  const documents = chosen(domain, flags);
  const given = readDevice(host, xml);
  if (given.kind === "interface") completeInterface(host, given.device);
  for (const document of documents) checkFree(domain, document, given);
  for (const document of documents) {
    const device = structuredClone(given.device);
    addDevice(document, { kind: given.kind, device });
    if (document !== domain.live) continue;
    nameDevices(document);
    if (given.kind === "interface")
      device.target ??= { dev: `vnet${domain.id * 8 + (document.devices?.interface?.length ?? 1)}` };
    host.emit("domain", "deviceAdded", { dom: domain.reference, devAlias: device.alias?.name ?? "" });
  }
  tellDefined(host, domain, flags);
  return {};
}

function checkFree(domain: DomainRecord, document: DomainDocument, given: GivenDevice): void {
  if (given.kind !== "disk" && given.kind !== "interface") return;
  const { kind, device } = given;
  const known = findDevice(document, { kind, device: { target: device.target, mac: device.mac } });
  if (known === undefined) return;
  if (kind === "disk") {
    const message = `target ${device.target?.dev ?? ""} already exists`;
    throw document === domain.live ? refusal("xmlError", "domain", message) : invalidOperation(message);
  }
  if (document === domain.live) return;
  throw invalidOperation("network device with this MAC address already exists");
}

function detach(host: HostState, domain: DomainRecord, xml: string, flags: number): Nothing {
  const documents = chosen(domain, flags);
  const given = readDevice(host, xml);
  const found = documents.map((document) => {
    const device = findDevice(document, given);
    if (device === undefined) throw missing(given);
    return { document, device };
  });
  for (const { document, device } of found) remove(host, domain, document, { kind: given.kind, device });
  tellDefined(host, domain, flags);
  return {};
}

function remove(host: HostState, domain: DomainRecord, document: DomainDocument, given: GivenDevice): void {
  const { kind, device } = given;
  if (document !== domain.live) return removeDevice(document, kind, device);
  const alias = device.alias?.name ?? "";
  if (kind === "disk" && domain.blockJobs.has(device.target?.dev ?? ""))
    throw refusal("operationFailed", "qemu", `disk '${device.target?.dev ?? ""}' already in active block job`);
  if (domain.unplugging.has(alias))
    throw refusal("operationFailed", "qemu", `device ${alias} is already in the process of unplug`);
  const { detach: answer, detachMs } = host.behaviourOf(domain);
  domain.unplugging.add(alias);
  if (answer === "ignore" || !domain.booted) {
    // A guest that is not up does not hear; libvirt takes the request back after a while.
    host.later(UNPLUG_PATIENCE_MS, () => void domain.unplugging.delete(alias), domain.timers);
    return;
  }
  host.later(detachMs, () => answered(host, domain, answer, { document, kind, device, alias }), domain.timers);
}

/** For how long libvirt waits before it gives a request to the guest up. */
const UNPLUG_PATIENCE_MS = 5_000;

function answered(
  host: HostState,
  domain: DomainRecord,
  answer: "release" | "refuse",
  what: { document: DomainDocument; kind: string; device: Device; alias: string },
): void {
  domain.unplugging.delete(what.alias);
  const about = { dom: domain.reference, devAlias: what.alias };
  if (answer === "refuse") return host.emit("domain", "deviceRemovalFailed", about);
  removeDevice(what.document, what.kind, what.device);
  host.emit("domain", "deviceRemoved", about);
}

/** Later releases say that the definition is another now. */
function tellDefined(host: HostState, domain: DomainRecord, flags: number): void {
  const persistent = (flags & MODIFY.config) !== 0 || (!domain.active && (flags & MODIFY.live) === 0);
  if (persistent && host.release.tellsDeviceChanges) tellLifecycle(host, domain, EVENT.defined, DEFINED.updated);
}

function missing({ kind, device }: GivenDevice): Error {
  if (kind === "disk") return refusal("deviceMissing", "qemu", `disk ${device.target?.dev ?? ""} not found`);
  if (kind === "interface" && device.mac?.address !== undefined)
    return refusal("deviceMissing", "domain", `no device matching MAC address ${device.mac.address} found`);
  return refusal("deviceMissing", "qemu", `device not present in domain configuration`);
}
