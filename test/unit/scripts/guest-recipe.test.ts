import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { describe, expect, it } from "vitest";
import { bootSectorImage } from "../../../scripts/guest/boot-sector.mjs";
import { cpioArchive } from "../../../scripts/guest/cpio.mjs";
import { parseDepends, parsePackageRecords } from "../../../scripts/guest/debian-packages.mjs";
import { moduleInfo, neededLibraries } from "../../../scripts/guest/elf.mjs";
import { modulesAlias, modulesDep, selectModules } from "../../../scripts/guest/kernel-modules.mjs";
import { withTemporaryDirectory } from "../../lab/temporary-directory.js";

/** A 64-bit ELF file with the given sections and nothing else. */
function elfWith(sections: Readonly<Record<string, string>>): Buffer {
  const all = Object.entries({ ...sections, ".shstrtab": "" });
  const names = Buffer.from(`\0${all.map(([name]) => `${name}\0`).join("")}`, "latin1");
  const bodies = all.map(([name, text]) => (name === ".shstrtab" ? names : Buffer.from(text, "latin1")));
  const headersAt = 64;
  const headers = Buffer.alloc(64 * all.length);
  let bodyAt = headersAt + headers.length;
  all.forEach(([name], index) => {
    const size = bodies[index]?.length ?? 0;
    headers.writeUInt32LE(names.indexOf(`\0${name}\0`) + 1, index * 64);
    headers.writeBigUInt64LE(BigInt(bodyAt), index * 64 + 0x18);
    headers.writeBigUInt64LE(BigInt(size), index * 64 + 0x20);
    bodyAt += size;
  });
  const header = Buffer.alloc(64);
  header.write("\u007fELF\u0002\u0001", 0, "latin1");
  header.writeBigUInt64LE(BigInt(headersAt), 0x28);
  header.writeUInt16LE(64, 0x3a);
  header.writeUInt16LE(all.length, 0x3c);
  header.writeUInt16LE(all.length - 1, 0x3e);
  return Buffer.concat([header, headers, ...bodies]);
}

const kernelModule = (depends: string, ...aliases: readonly string[]): Buffer =>
  elfWith({
    ".modinfo": ["license=GPL", `depends=${depends}`, ...aliases.map((alias) => `alias=${alias}`), ""].join("\0"),
  });

describe("cpioArchive", () => {
  it("holds parents before children, modes, link targets, and ends on a block", () => {
    const archive = cpioArchive([
      { path: "/a/b/run", type: "file", content: "hello", mode: 0o755 },
      { path: "a/link", type: "symlink", target: "b/run" },
    ]);
    expect(archive.length % 512).toBe(0);
    expect(readCpio(archive)).toEqual([
      { name: "a", mode: 0o040755, body: "" },
      { name: "a/b", mode: 0o040755, body: "" },
      { name: "a/b/run", mode: 0o100755, body: "hello" },
      { name: "a/link", mode: 0o120777, body: "b/run" },
    ]);
  });

  it("gives equal bytes for equal input in any order", () => {
    const one = { path: "x", type: "file", content: "1" } as const;
    const two = { path: "y", type: "directory" } as const;
    expect(cpioArchive([one, two])).toEqual(cpioArchive([two, one]));
  });
});

function readCpio(archive: Buffer): { name: string; mode: number; body: string }[] {
  const entries = [];
  const align = (at: number) => (at + 3) & ~3;
  for (let at = 0; ;) {
    expect(archive.toString("latin1", at, at + 6)).toBe("070701");
    const field = (index: number) =>
      Number.parseInt(archive.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
    const nameLength = field(11);
    const name = archive.toString("latin1", at + 110, at + 110 + nameLength - 1);
    const bodyAt = align(at + 110 + nameLength);
    if (name === "TRAILER!!!") return entries;
    entries.push({ name, mode: field(1), body: archive.toString("latin1", bodyAt, bodyAt + field(6)) });
    at = align(bodyAt + field(6));
  }
}

describe("the ELF reader", () => {
  it("reads a module's records, repeated keys together", () => {
    expect(Object.fromEntries(moduleInfo(kernelModule("a,b", "pci:1", "pci:2")))).toEqual({
      license: ["GPL"],
      depends: ["a,b"],
      alias: ["pci:1", "pci:2"],
    });
  });

  it("finds nothing in a file without the section, and refuses what is not ELF", () => {
    expect(moduleInfo(elfWith({ ".text": "x" })).size).toBe(0);
    expect(neededLibraries(elfWith({ ".text": "x" }))).toEqual([]);
    expect(() => moduleInfo(Buffer.alloc(64))).toThrow("not a 64-bit");
  });

  it("reads the libraries that a real program needs", async () => {
    expect(neededLibraries(await readFile("/bin/sh"))).toContain("libc.so.6");
  });
});

describe("selectModules", () => {
  it("takes what is wanted with all that it needs, leaves out what is built in, and tells what is absent", async () => {
    await withTemporaryDirectory(async (directory) => {
      const files: Record<string, Buffer | string> = {
        "kernel/net/virtio_net.ko": kernelModule("failover,virtio", "virtio:d1"),
        "kernel/net/net-failover.ko": kernelModule(""),
        "kernel/core/failover.ko": kernelModule("net-failover"),
        "kernel/core/virtio.ko.xz": "packed",
        "kernel/other/unused.ko": kernelModule(""),
        "modules.builtin": "kernel/fs/ext4/ext4.ko\n",
      };
      for (const [path, content] of Object.entries(files)) {
        await mkdir(dirname(directory.file(path)), { recursive: true });
        await writeFile(directory.file(path), content);
      }
      const { modules, absent } = await selectModules(directory.path, ["virtio-net", "ext4", "missing"], async () =>
        kernelModule("net_failover"),
      );
      expect(modules.map(({ name }) => name).sort()).toEqual(["failover", "net_failover", "virtio", "virtio_net"]);
      expect(absent).toEqual(["missing"]);
      expect(modulesAlias(modules)).toBe("alias virtio:d1 virtio_net\n");
      const [, needs = ""] = /^kernel\/net\/virtio_net\.ko: (.*)$/m.exec(modulesDep(modules)) ?? [];
      // The last of the line is loaded first.
      expect(needs.split(" ").at(-1)).toBe("kernel/net/net-failover.ko");
      expect(needs.split(" ").sort()).toEqual([
        "kernel/core/failover.ko",
        "kernel/core/virtio.ko",
        "kernel/net/net-failover.ko",
      ]);
    });
  });
});

describe("Debian package records", () => {
  it("takes the first of alternatives, without versions and architectures", () => {
    expect(parseDepends("libc6 (>= 2.34), debconf (>= 0.5) | debconf-2.0, python3:any, libglib2.0-0t64")).toEqual([
      "libc6",
      "debconf",
      "python3",
      "libglib2.0-0t64",
    ]);
  });

  it("reads what apt-cache shows", () => {
    const text = [
      "Package: busybox-static\nVersion: 1:1.35.0-4\nDescription: tiny\n tools\n",
      "Package: qemu-guest-agent\nVersion: 7.2\nPre-Depends: init\nDepends: libc6, liburing2\n",
      "N: a note\n",
    ].join("\n");
    expect(parsePackageRecords(text)).toEqual([
      { name: "busybox-static", version: "1:1.35.0-4", depends: [] },
      { name: "qemu-guest-agent", version: "7.2", depends: ["init", "libc6", "liburing2"] },
    ]);
  });
});

describe("bootSectorImage", () => {
  it("is a bootable disk with its message in the first sector", () => {
    const image = bootSectorImage({ message: "hello", sizeBytes: 1024 });
    expect(image).toHaveLength(1024);
    expect(image.readUInt16LE(510)).toBe(0xaa55);
    expect(image.includes("hello\0")).toBe(true);
  });

  it("refuses a message that does not fit, and sizes that no disk has", () => {
    expect(() => bootSectorImage({ message: "x".repeat(500) })).toThrow(RangeError);
    expect(() => bootSectorImage({ sizeBytes: 0 })).toThrow(RangeError);
    expect(() => bootSectorImage({ sizeBytes: 1000 })).toThrow(RangeError);
  });
});
