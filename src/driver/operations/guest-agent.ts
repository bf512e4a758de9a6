/** What is done inside a guest by its agent: in the instance's turn like every operation that changes it, and never undone. */
import { asError, check, ClosedError, isHyperviseError, NotSupportedError, Secret } from "../../core/index.js";
import type { CommonOptions, Transaction } from "../../core/index.js";
import type { GuestAgent } from "../guest.js";
import type { GuestAgentFacet } from "../facets/guest-administration.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireGuest, requireState } from "../guest-actions.js";
import { runOperation } from "../run-operation.js";

const MIB = 1_048_576;
const MAX_FILE_BYTES = 16 * MIB;
const password = check.secret({ min: 1, max: 1024 });
const userName = check.string({ min: 1, max: 64, pattern: /^[A-Za-z0-9_][A-Za-z0-9._-]*$/, expected: "a user name" });
const guestPath = check.string({ min: 1, max: 4096, pattern: /^[^\0]+$/, expected: "a path without NUL" });
const argument = check.string({ min: 0, max: 131_072, pattern: /^[^\0]*$/, expected: "text without NUL" });
const argumentList = check.array(argument, { min: 1, max: 1024 });
const bytes = check.guarded((value): value is Uint8Array => value instanceof Uint8Array, "a Uint8Array");
const byteCount = check.integer({ min: 1, max: MAX_FILE_BYTES });

export function setAdminPassword(
  host: HostContext,
  instance: InstanceRef,
  newPassword: string | Secret,
  options: CommonOptions & { readonly user?: string } = {},
): Promise<void> {
  return withAgent(host, "setAdminPassword", instance, options, () => {
    const user = options.user === undefined ? undefined : userName(options.user, "options.user");
    const secret = Secret.of(password(newPassword, "password"));
    return (agent, signal) => agent.setPassword(user ?? agent.adminUser ?? "root", secret, { signal });
  });
}

export function injectFile(
  host: HostContext,
  instance: InstanceRef,
  path: string,
  contents: Uint8Array,
  options: CommonOptions = {},
): Promise<void> {
  return withAgent(host, "injectFile", instance, options, () => {
    guestPath(path, "path");
    bytes(contents, "contents");
    check.integer({ min: 0, max: MAX_FILE_BYTES })(contents.byteLength, "contents.byteLength");
    return (agent, signal) => agent.writeFile(path, contents, { signal });
  });
}

export function readGuestFile(
  host: HostContext,
  instance: InstanceRef,
  path: string,
  options: CommonOptions & { readonly maxBytes?: number } = {},
): Promise<Uint8Array> {
  return withAgent(host, "readGuestFile", instance, options, () => {
    guestPath(path, "path");
    const maxBytes = byteCount(options.maxBytes ?? MIB, "options.maxBytes");
    return (agent, signal) => agent.readFile(path, { maxBytes, signal });
  });
}

export function execInGuest(
  host: HostContext,
  instance: InstanceRef,
  argv: readonly string[],
  options: CommonOptions & { readonly input?: Uint8Array } = {},
): ReturnType<GuestAgentFacet["execInGuest"]> {
  return withAgent(host, "execInGuest", instance, options, () => {
    const command = argumentList(argv, "argv");
    if (options.input !== undefined) bytes(options.input, "options.input");
    const input = options.input === undefined ? {} : { input: options.input };
    return (agent, signal) => agent.exec(command, { ...input, signal });
  });
}

export function getGuestInterfaces(
  host: HostContext,
  instance: InstanceRef,
  options: CommonOptions = {},
): ReturnType<GuestAgentFacet["getGuestInterfaces"]> {
  return withAgent(
    host,
    "getGuestInterfaces",
    instance,
    options,
    () => (agent, signal) => agent.interfaces({ signal }),
  );
}

/** Freezing is undone by `unquiesce`, by `close`, and by the next `initHost` when the process has died. */
export function quiesce(host: HostContext, instance: InstanceRef, options: CommonOptions = {}): Promise<void> {
  return withAgent(host, "quiesce", instance, options, () => async (agent, signal) => {
    const { uuid, name } = instance;
    const already = host.frozen.get(uuid);
    const freezing =
      already ??
      (await host.journal.begin({ kind: "quiesce", instanceUuid: uuid, params: { instance: { uuid, name } } }));
    try {
      if (already === undefined)
        await freezing.effect({ kind: "frozen", data: { uuid } }, () => agent.freeze({ signal }));
      else await agent.freeze({ signal });
    } catch (error) {
      // An agent refuses to freeze what it has frozen.
      if (already !== undefined && isHyperviseError(error, "AGENT_COMMAND_FAILED")) return;
      host.frozen.delete(uuid);
      await freezing.rollback(asError(error));
      throw error;
    }
    host.frozen.set(uuid, freezing);
  });
}

export function unquiesce(host: HostContext, instance: InstanceRef, options: CommonOptions = {}): Promise<void> {
  return withAgent(host, "unquiesce", instance, options, () => async (agent, signal) => {
    await agent.thaw({ signal });
    const freezing = host.frozen.get(instance.uuid);
    host.frozen.delete(instance.uuid);
    await freezing?.commit();
  });
}

/** Thaws what `quiesce` has frozen and nobody has thawed; never throws. For `close`. */
export async function thawAll(host: HostContext): Promise<void> {
  const thawOne = async ([uuid, freezing]: readonly [string, Transaction]): Promise<void> => {
    host.frozen.delete(uuid);
    const thawing = freezing.rollback(new ClosedError("the driver was closed"));
    await limited(host, host.timeouts.agentMs, "thawing the guest", undefined, () => thawing);
  };
  await Promise.allSettled([...host.frozen].map(thawOne));
}

export function triggerCrashDump(host: HostContext, instance: InstanceRef, options: CommonOptions = {}): Promise<void> {
  const request = { kind: "triggerCrashDump", instance, options, timeoutMs: host.timeouts.queryMs };
  return runOperation(host, request, async ({ signal }) => {
    const guest = await requireGuest(host, instance.uuid, signal);
    await requireState(guest, "triggerCrashDump", ["running"], signal);
    if (guest.injectNmi === undefined) throw new NotSupportedError({ capability: "crashDump" });
    await guest.injectNmi({ signal });
  });
}

/** Checks the arguments before the instance's turn, then lets the agent of the running guest work. */
async function withAgent<T>(
  host: HostContext,
  kind: string,
  instance: InstanceRef,
  options: CommonOptions,
  prepare: () => (agent: GuestAgent, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  host.lifecycle.assertReady();
  const work = prepare();
  return runOperation(
    host,
    { kind, instance, options, timeoutMs: options.deadline ?? host.timeouts.agentMs },
    async ({ signal }) => {
      const guest = await requireGuest(host, instance.uuid, signal);
      await requireState(guest, kind, ["running"], signal);
      if (guest.agent === undefined) throw new NotSupportedError({ capability: "guestAgent", instance: guest });
      return work(guest.agent, signal);
    },
  );
}
