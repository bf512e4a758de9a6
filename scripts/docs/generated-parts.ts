/** Parts of the documents that are made from the code: a document names them between markers, and a test compares. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as main from "hypervise";
import { FAKE_PRESETS } from "hypervise/fake";
import * as fake from "hypervise/fake";
import * as firewall from "hypervise/firewall";
import * as kvm from "hypervise/kvm";
import * as libvirt from "hypervise/libvirt";
import * as network from "hypervise/network";
import * as qmp from "hypervise/qmp";
import * as storage from "hypervise/storage";
import * as testing from "hypervise/testing";
import { defaultHostTimeouts } from "../../src/host/index.js";
import { DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS } from "../../src/libvirt/driver/timeouts.js";

const source = fileURLToPath(new URL("../../src/", import.meta.url));

/** The documents that have generated parts, as paths below the repository's root. */
export const GENERATED_DOCUMENTS = [
  "README.md",
  "docs/capabilities.md",
  "docs/errors.md",
  "docs/events.md",
  "docs/libvirt-driver.md",
  "docs/timeouts.md",
] as const;

const PARTS: Readonly<Record<string, () => string>> = {
  facets: facetTable,
  flags: flagTable,
  "facet-methods": methodTable,
  errors: errorTables,
  "libvirt-abilities": abilityTable,
  transitions: () => main.LIFECYCLE_TRANSITIONS.map((name) => `\`${name}\``).join(", "),
  ...Object.fromEntries(Object.entries(timeoutTables()).map(([part, of]) => [part, () => timeoutTable(of)])),
};

interface TimeoutTable {
  /** The file that declares it, below `src`. */
  readonly path: string;
  readonly name: string;
  readonly defaults: object;
}

/** The tables of docs/timeouts.md, by their parts' names. */
export function timeoutTables(): Readonly<Record<string, TimeoutTable>> {
  return {
    "driver-timeouts": { path: "driver/timeouts.ts", name: "DriverTimeouts", defaults: main.DEFAULT_TIMEOUTS },
    "kvm-timeouts": { path: "kvm/timeouts.ts", name: "KvmTimeouts", defaults: kvm.DEFAULT_KVM_TIMEOUTS },
    "qmp-timeouts": { path: "qmp/timeouts.ts", name: "QmpTimeouts", defaults: qmp.DEFAULT_QMP_TIMEOUTS },
    "agent-timeouts": {
      path: "qmp/timeouts.ts",
      name: "GuestAgentTimeouts",
      defaults: qmp.DEFAULT_GUEST_AGENT_TIMEOUTS,
    },
    "libvirt-timeouts": {
      path: "libvirt/rpc/timeouts.ts",
      name: "LibvirtTimeouts",
      defaults: libvirt.DEFAULT_LIBVIRT_TIMEOUTS,
    },
    "libvirt-driver-timeouts": {
      path: "libvirt/driver/timeouts.ts",
      name: "LibvirtHypervisorTimeouts",
      defaults: DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS,
    },
    "nwfilter-timeouts": {
      path: "firewall/nwfilter/nwfilter-firewall-driver.ts",
      name: "NwfilterTimeouts",
      defaults: firewall.DEFAULT_NWFILTER_TIMEOUTS,
    },
    "dhcp-timeouts": {
      path: "network/dhcp/dhcp-timeouts.ts",
      name: "DhcpTimeouts",
      defaults: network.defaultDhcpTimeouts,
    },
    "postgres-timeouts": {
      path: "network/store/postgres/postgres-network-store.ts",
      name: "PostgresTimeouts",
      defaults: network.DEFAULT_POSTGRES_TIMEOUTS,
    },
    "host-timeouts": { path: "host/timeouts.ts", name: "HostTimeouts", defaults: defaultHostTimeouts },
  };
}

/** The interfaces of waits that the sources declare, by the files that declare them. */
export function timeoutInterfaces(): readonly Pick<TimeoutTable, "path" | "name">[] {
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".ts"));
  return files.flatMap((path) =>
    [...readFileSync(join(source, path), "utf8").matchAll(/^export interface (\w*Timeouts) \{/gm)].map(
      ([, name = ""]) => ({ path, name }),
    ),
  );
}

/** A document with its generated parts as the code has them now. @throws Error for a part that is not known or has no end */
export function withGeneratedParts(document: string): string {
  return document.replaceAll(
    /(<!-- begin ([a-z-]+), made by scripts\/docs -->\n)[^]*?(<!-- end (?:[a-z-]+) -->)/g,
    (_all, begin: string, name: string, end: string) => {
      const part = PARTS[name];
      if (part === undefined || end !== `<!-- end ${name} -->`)
        throw new Error(`no generated part ${name}, or its end is missing`);
      return `${begin}\n${part()}\n\n${end}`;
    },
  );
}

/** Without what a formatter may change: the width of a table's columns. */
export function withoutPadding(document: string): string {
  return document.replaceAll(/[ \t]+/g, " ").replaceAll(/-{3,}/g, "---");
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

const DRIVERS = {
  fake: main.capabilitiesOf(FAKE_PRESETS.full.features),
  kvm: main.capabilitiesOf(new Set(kvm.KVM_FEATURES)),
  libvirt: main.capabilitiesOf(new Set(libvirt.LIBVIRT_FEATURES.qemu)),
  containers: main.capabilitiesOf(new Set(libvirt.LIBVIRT_FEATURES.lxc)),
} as const;

const DRIVER_NAMES = ["`FakeDriver`", "`KvmDriver`", "`LibvirtDriver`, QEMU", "LXC"];

function marks(has: (driver: main.DriverCapabilities) => boolean): readonly string[] {
  return Object.values(DRIVERS).map((driver) => mark(has(driver)));
}

function mark(has: boolean): string {
  return has ? "yes" : "–";
}

function facetTable(): string {
  const rows = main.FACET_NAMES.map((name) => [
    `\`${name}\``,
    FACET_WORDS[name],
    ...marks(({ facets }) => facets[name]),
  ]);
  return table(["facet", "what it does", ...DRIVER_NAMES], rows);
}

const FACET_WORDS: Readonly<Record<main.FacetName, string>> = {
  pause: "stops the vCPUs, memory kept",
  volumes: "attaches and detaches volumes, also while the guest runs",
  volumeExtend: "tells a running guest that a volume has grown",
  volumeSwap: "copies a volume to another under the guest",
  volumeSnapshots: "a volume service's assisted snapshots",
  interfaces: "attaches and detaches NICs, also while the guest runs",
  snapshots: "makes an image of an instance",
  quiesce: "freezes the guest's file systems",
  suspend: "saves memory to disk and runs on from it",
  rescue: "boots from a rescue image, the own disk second",
  resize: "another flavor, to be confirmed or reverted",
  rebuild: "a new root disk from an image",
  liveMigration: "moves a running guest to another host",
  consoleOutput: "the last of what the guest wrote to its console",
  consoleStream: "both directions of the serial console",
  vncConsole: "where VNC listens",
  spiceConsole: "where SPICE listens",
  serialConsole: "where the serial console listens",
  screenshots: "a picture of the display",
  guestAgent: "passwords, files, programs, addresses inside the guest",
  statistics: "counters of CPU, memory, disks, NICs",
  crashDump: "a non-maskable interrupt",
  firewall: "keeps the filters of instances up to date",
  imageCache: "fetches images ahead of use, drops old ones",
  hostCpuStatistics: "CPU time of the host",
  compareCpu: "whether a guest's CPU could run here",
  vcpuHotplug: "more or fewer vCPUs, also while the guest runs",
  memoryHotplug: "more or less memory, also while the guest runs",
  balloon: "asks a running guest to do with less memory",
  devices: "attaches and detaches USB and host devices",
  removableMedia: "changes what is in a CD or floppy drive",
  diskLimits: "limits bytes and operations of a disk",
  backups: "copies a running guest's disks, whole or what has changed",
  memoryDump: "writes a guest's memory to a file for a debugger",
  consolePasswords: "sets the password of a graphical console",
  templates: "starts many guests from a saved one",
};

function flagTable(): string {
  const names = Object.keys(DRIVERS.fake.flags) as (keyof main.DriverFlags)[];
  return table(
    ["flag", ...DRIVER_NAMES],
    names.map((name) => [`\`${name}\``, ...marks(({ flags }) => flags[name])]),
  );
}

function methodTable(): string {
  return table(
    ["facet", "methods"],
    main.FACET_NAMES.map((name) => [
      `\`${name}\``,
      main.FACET_METHODS[name].map((method) => `\`${method}\``).join(", "),
    ]),
  );
}

function abilityTable(): string {
  return table(
    ["what", "libvirt", "QEMU", "by", "asked of libvirt"],
    libvirt.LIBVIRT_ABILITIES.map(({ name, libvirt: since, qemu = "", by, probe = "" }) => [
      `\`${name}\``,
      since,
      qemu,
      by.replaceAll(/<[^>]*>|\b(?:vir[A-Z]|VIR_)\w+/g, (code) => `\`${code}\``),
      probe === "" ? "" : `\`${probe}\``,
    ]),
  );
}

export interface ErrorClass {
  readonly name: string;
  readonly parent: string;
  readonly code: string;
  readonly retryable: "yes" | "no" | "depends";
  readonly meaning: string;
  /** Which entry point exports it; absent: none, it is seen as a cause. */
  readonly entry: string | undefined;
}

const ENTRIES: Readonly<Record<string, object>> = {
  hypervise: main,
  "hypervise/fake": fake,
  "hypervise/kvm": kvm,
  "hypervise/firewall": firewall,
  "hypervise/libvirt": libvirt,
  "hypervise/qmp": qmp,
  "hypervise/storage": storage,
  "hypervise/network": network,
  "hypervise/testing": testing,
};

/** Every class of error that the sources hold, by room. */
export function errorClasses(): ReadonlyMap<string, readonly ErrorClass[]> {
  const rooms = new Map<string, ErrorClass[]>();
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter(
    (path) => path.endsWith(".ts") && !path.includes(".gen."),
  );
  for (const path of files.sort()) {
    const room = path.split("/")[0] ?? "";
    for (const found of errorClassesOf(readFileSync(join(source, path), "utf8")))
      rooms.set(room, [...(rooms.get(room) ?? []), found]);
  }
  return rooms;
}

function errorClassesOf(text: string): readonly ErrorClass[] {
  const found: ErrorClass[] = [];
  for (const match of text.matchAll(
    /\/\*\*((?:(?!\*\/)[^])*?)\*\/\s*export (?:abstract )?class (\w+Error) extends (\w+Error) \{([^]*?)\n\}/g,
  )) {
    const [, comment = "", name = "", parent = "", body = ""] = match;
    const words = comment.replaceAll(/\s*\n\s*\*\s*/g, " ").trim();
    const code = /code: "(\w+)"/.exec(body)?.[1] ?? "";
    found.push({ name, parent, code, retryable: retryableIn(body), meaning: meaningOf(words), entry: entryOf(name) });
  }
  return found;
}

function retryableIn(body: string): ErrorClass["retryable"] {
  if (/retryable: true|retryable \?\? true/.test(body)) return "yes";
  return /retryable:|retryable \?\?/.test(body) ? "depends" : "no";
}

function meaningOf(words: string): string {
  return words
    .replace(/\s*Code `\w+`\.?/, "")
    .replace(/\s*Retryable(?: unless told otherwise)?\./, "")
    .replaceAll(/\{@link (\w+)\}/g, "`$1`")
    .trim();
}

function entryOf(name: string): string | undefined {
  return Object.keys(ENTRIES).find((entry) => name in (ENTRIES[entry] ?? {}));
}

function errorTables(): string {
  const rooms = errorClasses();
  const titles: Readonly<Record<string, string>> = {
    core: "Any room",
    driver: "Drivers",
    storage: "Storage",
    network: "Network",
    host: "The operating system",
    qmp: "QMP and the guest agent",
    fake: "The fake driver",
    testing: "Fake peers",
  };
  return [...rooms]
    .sort(([a], [b]) => order(titles, a) - order(titles, b))
    .map(([room, classes]) => {
      const rows = classes.map(({ name, parent, code, retryable, meaning, entry }) => [
        `\`${name}\`${parent === "HyperviseError" ? "" : ` (${parent})`}`,
        code === "" ? "" : `\`${code}\``,
        retryable,
        meaning,
        entry === undefined ? "" : `\`${entry}\``,
      ]);
      return `### ${titles[room] ?? room}\n\n${table(["class", "code", "retryable", "when", "exported by"], rows)}`;
    })
    .join("\n\n");
}

function order(titles: Readonly<Record<string, string>>, room: string): number {
  const at = Object.keys(titles).indexOf(room);
  return at < 0 ? Number.MAX_SAFE_INTEGER : at;
}

/** What each wait is for stands in the interface, how long it is in the defaults. */
function timeoutTable({ path, name, defaults }: TimeoutTable): string {
  const text = readFileSync(join(source, path), "utf8");
  const [, body = ""] = new RegExp(`export interface ${name} \\{([^]*?)\\n\\}`).exec(text) ?? [];
  const words = new Map<string, string>();
  let shared = "";
  for (const match of body.matchAll(/(?:\/\*\*([^]*?)\*\/\s*)?readonly (\w+): number;/g)) {
    const [, comment, key = ""] = match;
    // A least and a most stand under one comment.
    if (comment !== undefined) shared = comment.replaceAll(/\s*\n\s*\*\s*/g, " ").trim();
    else if (!key.endsWith("MaxMs")) throw new Error(`${path}: nothing says what ${key} is for`);
    words.set(key, shared);
  }
  return table(
    ["name", "ms", "of what"],
    Object.entries(defaults).map(([key, ms]) => [
      `\`${key}\``,
      Number(ms).toLocaleString("en-US"),
      words.get(key) ?? "",
    ]),
  );
}
