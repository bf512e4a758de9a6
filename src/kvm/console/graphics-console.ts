/** Consoles with pictures of a guest in memory: where they listen, and their passwords. */
import { InvalidArgumentError } from "../../core/index.js";
import type { CommonOptions, Secret } from "../../core/index.js";
import { ConsoleUnavailableError } from "../../driver/index.js";
import type { ConsoleAddress } from "../../driver/index.js";
import { toNumber } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";

type Kind = Extract<ConsoleAddress["kind"], "vnc" | "spice">;

/** VNC takes no more of a password. */
const VNC_PASSWORD = 8;

/** @throws ConsoleUnavailableError when the guest is not in memory or has no such console */
export async function graphicsAddress(core: GuestCore, kind: Kind, options: CommonOptions): Promise<ConsoleAddress> {
  const session = requireConsole(core, kind);
  if (core.definition.hardware?.[kind]?.address === undefined) return { kind, socketPath: core.files[kind] };
  const limits = { signal: options.signal, deadlineMs: options.deadline };
  const address = kind === "vnc" ? await vncAddress(session, limits) : await spiceAddress(session, limits);
  if (address === undefined) throw unavailable(core, kind);
  return { kind, ...address };
}

/**
 * Sets a password, and how long it holds: for ever when that is not said.
 * @throws ConsoleUnavailableError also for a console that asks for no password; InvalidArgumentError for one that VNC would cut off
 */
export async function setConsolePassword(
  core: GuestCore,
  kind: Kind,
  password: Secret,
  options: CommonOptions & { readonly validMs?: number },
): Promise<void> {
  const session = requireConsole(core, kind);
  if (core.definition.hardware?.[kind]?.passwordRequired !== true) {
    throw new ConsoleUnavailableError(`the guest's ${kind} console asks for no password`, { instance: core.instance });
  }
  if (kind === "vnc" && Buffer.byteLength(password.reveal()) > VNC_PASSWORD)
    throw new InvalidArgumentError({
      field: "password",
      value: password,
      expected: `at most ${VNC_PASSWORD} bytes for VNC`,
    });
  const { signal, deadline, validMs } = options;
  const limits = { signal, deadlineMs: deadline };
  // The end comes first, so that a new password is at no time valid for longer than it should.
  const time = validMs === undefined ? "never" : `+${Math.max(1, Math.ceil(validMs / 1_000))}`;
  await session.execute("expire_password", { protocol: kind, time }, limits);
  await session.execute("set_password", { protocol: kind, password: password.reveal() }, limits);
}

type Limits = { readonly signal: AbortSignal | undefined; readonly deadlineMs: number | undefined };
type Place = Omit<ConsoleAddress, "kind">;

async function vncAddress(session: GuestSession, limits: Limits): Promise<Place | undefined> {
  const { enabled, host, service } = await session.execute("query-vnc", {}, limits);
  return enabled && host !== undefined && service !== undefined ? { host, port: Number(service) } : undefined;
}

async function spiceAddress(session: GuestSession, limits: Limits): Promise<Place | undefined> {
  const { enabled, host, port, "tls-port": tlsPort } = await session.execute("query-spice", {}, limits);
  if (!enabled || host === undefined) return undefined;
  return {
    host,
    ...(port === undefined ? {} : { port: toNumber(port) }),
    ...(tlsPort === undefined ? {} : { tlsPort: toNumber(tlsPort) }),
  };
}

function requireConsole(core: GuestCore, kind: Kind): GuestSession {
  const { session } = core;
  if (session === undefined || core.definition.hardware?.[kind] === undefined) throw unavailable(core, kind);
  return session;
}

function unavailable(core: GuestCore, kind: Kind): ConsoleUnavailableError {
  return new ConsoleUnavailableError(`the guest has no ${kind} console now`, { instance: core.instance });
}
