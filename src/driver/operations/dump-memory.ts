/** `dumpMemory`: a guest's memory in a file for a debugger. */
import { check, NotSupportedError } from "../../core/index.js";
import type { OperationHandle, OperationOptions } from "../../core/index.js";
import { changePower } from "../operation-steps.js";
import { checkInstance } from "../operation-options.js";
import { copyProgress, making, planExport, publish } from "../export-file.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireInMemory } from "../guest-actions.js";
import type { MemoryDump } from "../facets/backups.js";
import type { MemoryDumpFormat } from "../guest.js";
import type { Operation } from "../operation.js";
import { requireNotMigrating } from "../task-state.js";
import { startOperation } from "../operation-handle.js";

const pathCheck = check.absolutePath();
const formatCheck = check.oneOf(["elf", "kdump-zlib", "kdump-lzo", "kdump-snappy"]);

export function dumpMemory(
  host: HostContext,
  given: InstanceRef,
  givenPath: string,
  options: OperationOptions & { readonly format?: MemoryDumpFormat } = {},
): OperationHandle<MemoryDump> {
  const instance = checkInstance(given);
  const path = pathCheck(givenPath, "path");
  const format = formatCheck(options.format ?? "elf", "options.format");
  const { diskCopyMs } = host.timeouts;
  const request = { kind: "dumpMemory", instance, options, timeoutMs: diskCopyMs };
  const key = `dumpMemory ${instance.uuid} ${path}`;
  return startOperation(host, key, request, (operation) => dump(operation, { path, format }));
}

async function dump(operation: Operation, { path, format }: MemoryDump): Promise<MemoryDump> {
  const { host, instance, signal } = operation;
  requireNotMigrating(host.records.require(instance.uuid), "dumpMemory");
  const guest = await requireInMemory(host, instance.uuid, "dumpMemory", signal);
  const file = await planExport(operation, path);
  operation.progress("dump");
  await making(operation, file, () =>
    changePower(operation, guest, () =>
      limited(host, host.timeouts.diskCopyMs, "dumping the memory", signal, async (limit) => {
        if (guest.dumpMemory === undefined) throw new NotSupportedError({ capability: "memoryDump" });
        const onCopyProgress = copyProgress(operation, "dump");
        await guest.dumpMemory(file.partial, format, { signal: limit, onCopyProgress });
      }),
    ),
  );
  await publish(operation, file);
  return { path, format };
}
