/** Reading and opening consoles. */
import type { Duplex } from "node:stream";
import { check, NotSupportedError } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import type { ConsoleAddress, ConsoleLog, Screenshot } from "../console.js";
import { checkUuid } from "../operation-options.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { requireGuest, requireInMemory } from "../guest-actions.js";
import { runQuery } from "../run-operation.js";

type Named = Pick<InstanceRef, "uuid">;

/** Nova's `MAX_CONSOLE_BYTES`. */
const DEFAULT_CONSOLE_BYTES = 102_400;
const consoleBytes = check.integer({ min: 1, max: 16_777_216 });

export function getConsoleOutput(
  host: HostContext,
  instance: Named,
  options: CommonOptions & { readonly maxBytes?: number } = {},
): Promise<ConsoleLog> {
  return runQuery(host, "getConsoleOutput", options, async (signal) => {
    const maxBytes = consoleBytes(options.maxBytes ?? DEFAULT_CONSOLE_BYTES, "options.maxBytes");
    const guest = await requireGuest(host, checkUuid(instance), signal);
    if (guest.consoleLog === undefined) throw new NotSupportedError({ capability: "consoleOutput" });
    return guest.consoleLog({ maxBytes, signal });
  });
}

export function openConsole(host: HostContext, instance: Named, options?: CommonOptions): Promise<Duplex> {
  return runQuery(host, "openConsole", options, async (signal) => {
    const guest = await requireInMemory(host, checkUuid(instance), "openConsole", signal);
    if (guest.openConsole === undefined) throw new NotSupportedError({ capability: "consoleStream" });
    return guest.openConsole({ signal });
  });
}

export function getVncConsole(host: HostContext, instance: Named, options?: CommonOptions): Promise<ConsoleAddress> {
  return consoleAddress(host, instance, "vnc", options);
}

export function getSpiceConsole(host: HostContext, instance: Named, options?: CommonOptions): Promise<ConsoleAddress> {
  return consoleAddress(host, instance, "spice", options);
}

export function getSerialConsole(host: HostContext, instance: Named, options?: CommonOptions): Promise<ConsoleAddress> {
  return consoleAddress(host, instance, "serial", options);
}

function consoleAddress(
  host: HostContext,
  instance: Named,
  kind: ConsoleAddress["kind"],
  options?: CommonOptions,
): Promise<ConsoleAddress> {
  return runQuery(host, `${kind}Console`, options, async (signal) => {
    const guest = await requireGuest(host, checkUuid(instance), signal);
    if (guest.consoleAddress === undefined) throw new NotSupportedError({ capability: `${kind}Console` });
    return guest.consoleAddress(kind, { signal });
  });
}

export function takeScreenshot(host: HostContext, instance: Named, options?: CommonOptions): Promise<Screenshot> {
  return runQuery(host, "takeScreenshot", options, async (signal) => {
    const guest = await requireInMemory(host, checkUuid(instance), "takeScreenshot", signal);
    if (guest.screenshot === undefined) throw new NotSupportedError({ capability: "screenshots" });
    return guest.screenshot({ signal });
  });
}
