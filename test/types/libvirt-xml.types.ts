// What the compiler knows of libvirt's XML.
import { expectTypeOf } from "vitest";
import {
  diskXml,
  formatDeviceXml,
  formatXml,
  nwFilterRuleXml,
  parseDomainXml,
  parseXml,
} from "../../src/libvirt/index.js";
import type { DomainXml, Editable, LibvirtXml, NetworkXml } from "../../src/libvirt/index.js";

const domain = parseDomainXml("<domain/>");
expectTypeOf(domain).toEqualTypeOf<Editable<DomainXml>>();
expectTypeOf(domain.devices?.disk?.[0]?.source?.file).toEqualTypeOf<string | undefined>();
expectTypeOf(domain.vcpu?.$text).toEqualTypeOf<number | undefined>();
expectTypeOf(domain.memory?.$text).toEqualTypeOf<number | bigint | undefined>();
expectTypeOf(domain.features?.acpi).toEqualTypeOf<boolean | undefined>();
expectTypeOf(domain.os?.$firmware).toEqualTypeOf<Editable<LibvirtXml.DomainOsFirmware> | undefined>();
expectTypeOf(parseXml("network", "<network/>")).toEqualTypeOf<Editable<NetworkXml>>();

// What was read may be changed, and written as it is.
domain.devices?.disk?.push(diskXml({ target: "vda" }));
formatXml("domain", domain);
const fixed: DomainXml = domain;
// @ts-expect-error what is given to be written is not to be changed
fixed.name = "b";

// @ts-expect-error no such member
formatXml("domain", { nmae: "a" });
// @ts-expect-error a number is no text
formatXml("domain", { name: 1 });
// @ts-expect-error disks are an array
formatXml("domain", { devices: { disk: {} } });
// @ts-expect-error no such kind
formatXml("domian", {});
// @ts-expect-error no device
formatDeviceXml("emulator", "/usr/bin/qemu");
// Values that the schema does not know yet are allowed.
formatDeviceXml("disk", { type: "holographic" });

nwFilterRuleXml({ action: "drop", direction: "in", protocol: "tcp", match: { dstportstart: "22" } });
// @ts-expect-error ARP has no ports
nwFilterRuleXml({ action: "drop", direction: "in", protocol: "arp", match: { dstportstart: "22" } });
