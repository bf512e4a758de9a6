import { describe, expect, it } from "vitest";
import {
  formatDeviceXml,
  formatDomainXml,
  formatXml,
  parseDeviceXml,
  parseDomainXml,
} from "../../../src/libvirt/xml/index.js";
import type { DomainXml, Editable } from "../../../src/libvirt/xml/index.js";

const TEXT = `<domain type="kvm" id="3" xmlns:q="http://libvirt.org/schemas/domain/qemu/1.0">
  <name>guest</name>
  <metadata>
    <app:about xmlns:app="urn:app" kind="test">some <b>bold</b> words</app:about>
  </metadata>
  <memory unit="KiB">1048576</memory>
  <vcpu placement="static">2</vcpu>
  <os firmware="efi">
    <type arch="x86_64" machine="q35">hvm</type>
    <firmware>
      <feature enabled="no" name="secure-boot"/>
    </firmware>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <devices>
    <disk type="file" device="disk">
      <source file="/var/lib/a.qcow2"/>
      <target dev="vda" bus="virtio"/>
      <iotune>
        <total_bytes_sec>18446744073709551615</total_bytes_sec>
      </iotune>
    </disk>
    <disk type="block">
      <source dev="/dev/sdb"/>
      <target dev="vdb"/>
      <readonly/>
    </disk>
  </devices>
  <q:commandline>
    <q:arg value="-foo"/>
  </q:commandline>
</domain>
`;

describe("a domain", () => {
  it("is an object with the names of its elements and attributes", () => {
    const domain = parseDomainXml(TEXT);
    expect(domain.devices?.disk?.[0]?.source?.file).toBe("/var/lib/a.qcow2");
    expect(domain).toEqual({
      type: "kvm",
      id: 3,
      $attributes: { "xmlns:qemu": "http://libvirt.org/schemas/domain/qemu/1.0" },
      name: "guest",
      metadata: {
        $content: [
          {
            name: "app:about",
            attributes: { "xmlns:app": "urn:app", kind: "test" },
            children: ["some ", { name: "b", attributes: {}, children: ["bold"] }, " words"],
          },
        ],
      },
      memory: { unit: "KiB", $text: 1048576 },
      vcpu: { placement: "static", $text: 2 },
      os: {
        firmware: "efi",
        type: { arch: "x86_64", machine: "q35", $text: "hvm" },
        $firmware: { feature: [{ enabled: "no", name: "secure-boot" }] },
      },
      features: { acpi: true, apic: {} },
      devices: {
        disk: [
          {
            type: "file",
            device: "disk",
            source: { file: "/var/lib/a.qcow2" },
            target: { dev: "vda", bus: "virtio" },
            iotune: { total_bytes_sec: 18446744073709551615n },
          },
          { type: "block", source: { dev: "/dev/sdb" }, target: { dev: "vdb" }, readonly: true },
        ],
      },
      "qemu:commandline": { "qemu:arg": [{ value: "-foo" }] },
    });
    expect(formatDomainXml(domain)).toBe(TEXT.replaceAll("q:", "qemu:").replace("xmlns:q=", "xmlns:qemu="));
  });

  it("can be changed in place and written again", () => {
    const domain: Editable<DomainXml> = parseDomainXml(TEXT);
    domain.devices?.disk?.push({ type: "file", target: { dev: "vdc" } });
    if (domain.features !== undefined) domain.features.acpi = false;
    delete domain["qemu:commandline"];
    const again = parseDomainXml(formatDomainXml(domain));
    expect(again.devices?.disk?.map((disk) => disk.target?.dev)).toEqual(["vda", "vdb", "vdc"]);
    expect(again.features).toEqual({ apic: {} });
  });

  it("gets the declaration of a namespace of libvirt's without saying so", () => {
    const text = formatDomainXml(
      { "qemu:commandline": { "qemu:env": [{ name: "A", value: "b" }] } },
      { pretty: false },
    );
    expect(text).toBe(
      '<domain xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"><qemu:commandline><qemu:env name="A" value="b"/></qemu:commandline></domain>',
    );
    const byDefault = `<domain><commandline xmlns="http://libvirt.org/schemas/domain/qemu/1.0"><arg value="x"/></commandline></domain>`;
    expect(parseDomainXml(byDefault)["qemu:commandline"]?.["qemu:arg"]).toEqual([{ value: "x" }]);
  });

  it("leaves a prefix alone that would hide another namespace", () => {
    const text = `<domain xmlns:qemu="urn:mine" xmlns:q="http://libvirt.org/schemas/domain/qemu/1.0"><qemu:a/><q:commandline/></domain>`;
    const domain = parseDomainXml(text);
    expect(domain["qemu:commandline"]).toBeUndefined();
    expect(formatDomainXml(domain, { pretty: false })).toBe(text);
  });

  it("keeps what the schemas do not name, and what is not what they say", () => {
    const text = `<domain type="kvm" id="soon" new="1"><name lang="en">a</name><newthing x="1"><y/></newthing><name>b</name>stray<iothreads>many</iothreads><devices><emulator a="1">/e</emulator></devices></domain>`;
    const domain = parseDomainXml(text);
    expect(domain).toEqual({
      type: "kvm",
      name: "a",
      $attributes: { id: "soon", new: "1", "name@lang": "en" },
      $content: [
        { name: "newthing", attributes: { x: "1" }, children: [{ name: "y", attributes: {}, children: [] }] },
        { name: "name", attributes: {}, children: ["b"] },
        "stray",
        { name: "iothreads", attributes: {}, children: ["many"] },
      ],
      devices: { emulator: "/e", $attributes: { "emulator@a": "1" } },
    });
    expect(formatDomainXml(domain, { pretty: false })).toBe(text.replace("</newthing>", "</newthing>"));
  });

  it("says which of several plain values has attributes of its own", () => {
    const text = "<domain><os><initarg>a</initarg><initarg x='1'>b</initarg></os></domain>";
    const os = parseDomainXml(text).os;
    expect(os).toEqual({ initarg: ["a", "b"], $attributes: { "initarg[1]@x": "1" } });
    expect(formatDomainXml({ os }, { pretty: false })).toBe(text.replaceAll("'", '"'));
    expect(formatDomainXml({ os: { ...os, initarg: ["a"] } }, { pretty: false })).not.toContain("x=");
  });

  it("keeps the order in which devices of several kinds take turns", () => {
    const text = `<domain><devices><disk type="a"/><input type="b"/><disk type="c"/><hub type="d"/><input type="e"/></devices></domain>`;
    const domain = parseDomainXml(text);
    expect(domain.devices?.$order).toEqual(["disk", "input", "disk", "hub", "input"]);
    expect(formatDomainXml(domain, { pretty: false })).toBe(text);
    domain.devices?.disk?.push({ type: "f" });
    domain.devices?.input?.shift();
    if (domain.devices !== undefined) domain.devices.tpm = [{ model: "g" }];
    expect(
      formatDomainXml(domain, { pretty: false })
        .match(/(?:type|model)="\w"/g)
        ?.map((m) => m.at(-2)),
    ).toEqual(["a", "e", "c", "f", "d", "g"]);
  });

  it("is written in the order that the schema wants, whatever that of the object is", () => {
    const capabilities = { guest: [{ os_type: "hvm" }], host: { cpu: { arch: "x86_64" }, uuid: "u" } };
    expect(formatXml("capabilities", capabilities, { pretty: false })).toBe(
      "<capabilities><host><uuid>u</uuid><cpu><arch>x86_64</arch></cpu></host><guest><os_type>hvm</os_type></guest></capabilities>",
    );
  });

  it.each([
    [{ nmae: "a" }, "domain.nmae"],
    [{ name: 1 }, "domain.name"],
    [{ name: null }, "domain.name"],
    [{ id: "1" }, "domain.id"],
    [{ id: 1.5 }, "domain.id"],
    [{ id: Number.NaN }, "domain.id"],
    [{ id: 2 ** 53 }, "domain.id"],
    [{ os: "hvm" }, "domain.os"],
    [{ os: [] }, "domain.os"],
    [{ features: { acpi: "yes" } }, "domain.features.acpi"],
    [{ devices: { disk: {} } }, "domain.devices.disk"],
    [{ devices: { disk: [undefined] } }, "domain.devices.disk[0]"],
    [{ devices: { disk: [{}, { target: { dev: 1 } }] } }, "domain.devices.disk[1].target.dev"],
    [{ "qemu:commandline": { "qemu:arg": [{ value: 1 }] } }, 'domain["qemu:commandline"]["qemu:arg"][0].value'],
    [{ $text: "a" }, "domain.$text"],
    [{ $order: "name" }, "domain.$order"],
    [{ $attributes: { "a b": "" } }, 'domain.$attributes["a b"]'],
    [{ type: "kvm", $attributes: { type: "b" } }, 'domain.$attributes["type"]'],
    [{ $content: {} }, "domain.$content"],
    [{ $content: [{ name: 1 }] }, "domain.$content[0].name"],
  ])("is refused with the path of what is wrong: %j", (domain, field) => {
    expect(() => formatDomainXml(domain as DomainXml)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field }),
    );
  });

  it("is refused when it is larger than the limits", () => {
    const disk = Array.from({ length: 20 }, () => ({}));
    expect(() => formatDomainXml({ devices: { disk } }, { limits: { maxElements: 10 } })).toThrow(/10 elements/);
    expect(() => formatDomainXml({ name: "a".repeat(100) }, { limits: { maxBytes: 50 } })).toThrow(/50 bytes/);
  });

  it("shows no password in an error", () => {
    const graphics = [{ type: "vnc", passwd: "hunter2\u0000" }];
    try {
      formatDomainXml({ devices: { graphics } });
      expect.unreachable();
    } catch (error) {
      expect(JSON.stringify(error)).not.toContain("hunter2");
    }
  });
});

describe("numbers", () => {
  const iothreads = (text: string): unknown =>
    parseDomainXml(`<domain><iothreads>${text}</iothreads></domain>`).iothreads;
  const bytes = (text: string): unknown => parseDomainXml(`<domain><memory>${text}</memory></domain>`).memory?.$text;

  it("are numbers where the schema says so, and bigints beyond 2^53", () => {
    expect(iothreads(" 007\n")).toBe(7);
    expect(iothreads("+4")).toBe(4);
    expect(bytes("9007199254740991")).toBe(9007199254740991);
    expect(bytes("9007199254740993")).toBe(9007199254740993n);
    expect(formatXml("domain", { memory: { $text: 9007199254740993n } })).toContain(">9007199254740993<");
  });

  it("are kept as they are where they are none", () => {
    for (const text of ["", "1e3", "0x10", "1.5", "9".repeat(60)]) expect(iothreads(text)).toBeUndefined();
  });
});

describe("a device", () => {
  it("is a document of its own", () => {
    const text = `<interface type="bridge">\n  <source bridge="br0"/>\n</interface>\n`;
    const device = parseDeviceXml("interface", text);
    expect(device.source?.bridge).toBe("br0");
    expect(formatDeviceXml("interface", device)).toBe(text);
  });

  it("is refused when there is no such kind", () => {
    expect(() => formatDeviceXml("emulator" as "disk", {})).toThrow(/kind/);
    expect(() => parseDeviceXml("toString" as "disk", "<toString/>")).toThrow(/kind/);
  });
});
