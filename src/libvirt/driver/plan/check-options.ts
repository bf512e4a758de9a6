/** Values that a plan is made with, as far as libvirt's schemas bound them. */
import { InvalidArgumentError, check } from "../../../core/index.js";
import { DISK_CACHES } from "../../../driver/index.js";
import type { GuestHardware } from "../../../driver/index.js";
import { filePathCheck } from "../../../hypervisor/index.js";
import type { DomainPlanOptions } from "./plan-options.js";
import { invalid } from "./refuse.js";

const FILE_PATHS = ["nvramPath", "consoleLogPath", "guestAgentSocket", "vncSocket", "spiceSocket"] as const;
const MAX_SPARE_PORTS = 64;
const cpuNumbers = check.array(check.integer({ min: 0, max: 8191 }), { max: 8192 });
const cacheMode = check.optional(check.oneOf(DISK_CACHES));
const cacheModes = check.object({ file: cacheMode, block: cacheMode, network: cacheMode });
const serialConsoleCheck = check.object({
  address: check.ipAddress(),
  ports: check.array(check.integer({ min: 1, max: 65_535 }), { min: 1, max: 4 }),
});

/** @throws InvalidArgumentError that names the option */
export function checkOptions(options: DomainPlanOptions): void {
  for (const name of FILE_PATHS) if (options[name] !== undefined) filePathCheck(options[name], `options.${name}`);
  for (const [id, path] of Object.entries(options.containerFiles ?? {}))
    filePathCheck(path, `options.containerFiles[${JSON.stringify(id)}]`);
  if (options.rootDirectory !== undefined) check.absolutePath()(options.rootDirectory, "options.rootDirectory");
  if (options.generationId !== undefined) check.uuid()(options.generationId, "options.generationId");
  if (options.spareRootPorts !== undefined)
    check.integer({ min: 0, max: MAX_SPARE_PORTS })(options.spareRootPorts, "options.spareRootPorts");
  if (options.sharedCpus !== undefined) cpuNumbers(options.sharedCpus, "options.sharedCpus");
  if (options.cacheModes !== undefined) cacheModes(options.cacheModes, "options.cacheModes");
  for (const [id, uuid] of Object.entries(options.secretUuids ?? {}))
    check.uuid()(uuid, `options.secretUuids[${JSON.stringify(id)}]`);
  if (options.serialConsole !== undefined) serialConsoleCheck(options.serialConsole, "options.serialConsole");
  if (options.machineSerial === "")
    throw new InvalidArgumentError({ field: "options.machineSerial", value: "", expected: "a text" });
}

/** What the schemas bound more than a definition does. @throws InvalidArgumentError */
export function checkTexts({ vnc, uefi }: GuestHardware): void {
  if (vnc?.keymap !== undefined && !/^[A-Za-z0-9_-]+$/.test(vnc.keymap))
    throw invalid("hardware.vnc.keymap", vnc.keymap, "the name of a keyboard layout such as de");
  for (const name of ["codePath", "variablesTemplatePath"] as const)
    if (uefi?.[name] !== undefined) filePathCheck(uefi[name], `definition.hardware.uefi.${name}`);
}
