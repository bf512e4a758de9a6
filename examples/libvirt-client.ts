/** libvirt's client: define a domain, follow its life, read all statistics. Against a simulated host, so that no daemon is needed. */
import assert from "node:assert/strict";
import { LibvirtClient, diskXml, formatDomainXml, isLibvirtError, parseDomainXml } from "hypervise/libvirt";
import { SimulatedLibvirtHost } from "hypervise/testing";

const LIFECYCLE = ["defined", "undefined", "started", "suspended", "resumed", "stopped", "shutdown"];

await using host = await SimulatedLibvirtHost.create({ name: "example" });
// With a daemon: LibvirtClient.open("qemu:///system"), and nothing else changes.
await using client = await LibvirtClient.open("qemu:///system", { connect: host.connector });
console.log(`connected to ${await client.getHostname()}`);

// Subscribe first: whatever happens from here on is told.
const events = await client.connection.events("domain", ["lifecycle", "deviceAdded"]);

const domain = await client.defineDomainXml(
  formatDomainXml({
    type: "kvm",
    name: "web1",
    memory: { unit: "MiB", $text: 256 },
    vcpu: { $text: 2 },
    os: { type: { arch: "x86_64", machine: "q35", $text: "hvm" } },
    devices: {
      disk: [diskXml({ source: { file: "/srv/web1.qcow2" }, format: "qcow2", target: "vda", bus: "virtio" })],
    },
  }),
);
await domain.create();
await domain.attachDeviceFlags("<interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface>", {
  flags: ["live", "config"],
});

const { devices } = parseDomainXml(await domain.getXmlDesc());
console.log(`disk ${devices?.disk?.[0]?.alias?.name ?? "?"}, port ${devices?.interface?.[0]?.target?.dev ?? "?"}`);

for (const { dom, params } of await client.getAllDomainStats([], 0))
  console.log(`${dom.name}: ${String(params["balloon.maximum"])} KiB, ${String(params["vcpu.current"])} processors`);

// Errors are told apart by their kind, never by their text.
const again = await domain.create().catch((error: unknown) => error);
assert(isLibvirtError(again, "invalidState"));

await domain.destroy();
await domain.undefine();
for await (const item of events) {
  if (item.kind !== "event") continue;
  console.log(item.name === "lifecycle" ? `web1 ${LIFECYCLE[item.data.event] ?? "?"}` : `added ${item.data.devAlias}`);
  if (item.name === "lifecycle" && item.data.event === 1) break;
}
assert.deepEqual(host.contents.domains, []);
