// What the compiler must accept and refuse of the public types of libvirt connections. Nothing here runs.
import type { LibvirtConnection, LibvirtStream } from "../../src/libvirt/rpc/index.js";

declare const libvirt: LibvirtConnection;
declare const dom: { readonly name: string; readonly uuid: string; readonly id: number };

// Calls: names, arguments, results; what takes nothing may be called with nothing.
void libvirt.call("connectGetHostname").then(({ hostname }) => hostname satisfies string);
void libvirt.call("connectGetHostname", {}, { deadlineMs: 100, signal: AbortSignal.timeout(1) });
void libvirt.call("domainGetInfo", { dom }).then(({ memory }) => memory satisfies bigint);
void libvirt
  .callQemu("domainQemuMonitorCommand", { dom, cmd: "{}", flags: 0 })
  .then(({ result }) => result satisfies string);
// @ts-expect-error -- no such procedure
void libvirt.call("domainDance", { dom });
// @ts-expect-error -- a domain is wanted
void libvirt.call("domainGetInfo");
// @ts-expect-error -- an argument of the wrong type
void libvirt.call("domainGetInfo", { dom: "web1" });
// @ts-expect-error -- a procedure of QEMU's own program
void libvirt.call("domainQemuMonitorCommand", { dom, cmd: "{}", flags: 0 });

// Events: names by family, data by name, the object of the family.
void libvirt.events("domain", ["lifecycle", "blockJob2"], { object: dom }).then(async (events) => {
  for await (const item of events) {
    if (item.kind === "overflow") item.dropped satisfies number;
    else if (item.kind === "event" && item.name === "blockJob2") item.data.dst satisfies string;
    else if (item.kind === "event") item.data.detail satisfies number;
  }
});
void libvirt.events("domain", ["balloonChange"]).then(async (events) => {
  const { value } = await events.next();
  if (value?.kind === "event") value.data.actual satisfies bigint;
});
// @ts-expect-error -- an event of storage pools
void libvirt.events("domain", ["refresh"]);
// @ts-expect-error -- a network is wanted
void libvirt.events("network", ["lifecycle"], { object: { pool: "x" } });
void libvirt.monitorEvents().then(async (events) => {
  const { value } = await events.next();
  if (value?.kind === "event") value.data.seconds satisfies bigint;
  // @ts-expect-error -- the registration's number is nothing for a reader
  if (value?.kind === "event") value.data.callbackId satisfies number;
});

// Streams.
void libvirt.openStream("domainOpenConsole", { dom, flags: 0 }).then((stream) => stream satisfies LibvirtStream);
// @ts-expect-error -- arguments are missing
void libvirt.openStream("storageVolDownload", { offset: 0n });
