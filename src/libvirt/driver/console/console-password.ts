/** Passwords of graphical consoles. They stand in libvirt's memory and in QEMU's as long as the guest is there, and nowhere of ours. */
import { InvalidArgumentError } from "../../../core/index.js";
import type { CommonOptions, Secret } from "../../../core/index.js";
import { ConsoleUnavailableError } from "../../../driver/index.js";
import { formatDeviceXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { inMemoryCall } from "../in-memory-call.js";
import { graphicsOf, liveDomain, unavailable } from "./console-address.js";

/** VNC takes no more of a password. */
const VNC_PASSWORD = 8;
const NOT_IN_XML = /[\p{Cc}\p{Cs}\uFFFE\uFFFF]/u;

export interface ConsolePasswordOptions extends CommonOptions {
  readonly validMs?: number;
}

/**
 * Sets a password, and how long it holds: for ever when that is not said. `virDomainUpdateDeviceFlags` of the live guest alone.
 * @throws ConsoleUnavailableError also for a console that asks for no password; InvalidArgumentError for one that VNC would cut off
 */
export async function setConsolePassword(
  core: GuestCore,
  kind: "vnc" | "spice",
  password: Secret,
  { validMs, ...options }: ConsolePasswordOptions,
): Promise<void> {
  const { definition, domain, host, instance } = core;
  if (!core.inMemory || definition.hardware?.[kind] === undefined) throw unavailable(core, kind);
  if (definition.hardware[kind].passwordRequired !== true)
    throw new ConsoleUnavailableError(`the guest's ${kind} console asks for no password`, { instance });
  checkPassword(kind, password);
  const graphics = graphicsOf(await liveDomain(core, options), kind);
  if (graphics === undefined) throw unavailable(core, kind);
  const { passwdValidTo: _, ...rest } = graphics;
  const until = validMs === undefined ? {} : { passwdValidTo: utcSecond(host.clock.now() + validMs) };
  const xml = formatDeviceXml("graphics", { ...rest, passwd: password.reveal(), ...until });
  await inMemoryCall(core, "setConsolePassword", () =>
    domain.updateDeviceFlags(xml, { flags: ["live"], ...core.limits(options) }),
  );
}

function checkPassword(kind: "vnc" | "spice", password: Secret): void {
  const text = password.reveal();
  if (kind === "vnc" && Buffer.byteLength(text) > VNC_PASSWORD)
    throw new InvalidArgumentError({
      field: "password",
      value: password,
      expected: `at most ${VNC_PASSWORD} bytes for VNC`,
    });
  if (NOT_IN_XML.test(text))
    throw new InvalidArgumentError({ field: "password", value: password, expected: "no control characters" });
}

/** As libvirt reads it, which is no more exact: the end of the second. */
function utcSecond(epochMs: number): string {
  return new Date(Math.ceil(epochMs / 1_000) * 1_000).toISOString().slice(0, 19);
}
