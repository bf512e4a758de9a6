/** A guest's way to another host, seen from the destination: it is waited for, and runs once it is known that it has left the source. */
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import type { CommonOptions } from "../../core/index.js";
import { InvalidStateError, MigrationPreCheckError } from "../../driver/index.js";
import type { GuestDefinition, IncomingMigrationRequest } from "../../driver/index.js";
import { HostIoError } from "../../host/index.js";
import { receivedDefinition } from "../../hypervisor/index.js";
import { QmpCommandError } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { receiveGuest } from "../lifecycle/start.js";
import { GUEST_FILES } from "../plan/command-line.js";
import { diskNode } from "../plan/block-nodes.js";
import type { Hardware } from "../plan/hardware.js";
import { bindingOf } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";
import type { IncomingRecord } from "../state/migration-record.js";
import { withMigration } from "../state/state-changes.js";
import { canListen, fitsSocket, nbdListener, pathInQemu, uriOf, waitOnPort } from "./addresses.js";
import type { DirectAddress } from "./addresses.js";
import type { MigrationChannel } from "./options.js";
import { claimPort } from "./ports.js";
import { agreedParameters, incomingCapabilities, setCapabilities } from "./settings.js";
import type { Agreement } from "./settings.js";
import { incomingOf, watchForPostcopy } from "./take-over.js";
import { TLS_CREDENTIALS, addCredentials } from "./tls.js";
import { fingerprintOf } from "./token.js";
import type { GuestDescription, MigrationAddress, MigrationToken } from "./token.js";
import type { KvmHost } from "../host.js";
import { machineNamed } from "../plan/capabilities.js";

/** What a guest that comes is defined as. */
export interface ExpectedGuest {
  readonly definition: GuestDefinition;
  /** As on the source; absent when the source has not told. */
  readonly hardware?: Hardware;
}

/**
 * The guest as it will be here. Pure.
 * @throws MigrationPreCheckError when this host can't run what the source runs
 */
export function expectedGuest(
  host: Pick<KvmHost, "accelerator" | "cpuModel" | "capabilities">,
  here: GuestDefinition,
  description: GuestDescription | undefined,
): ExpectedGuest {
  if (description === undefined) return { definition: here };
  const { accelerator, cpuModel, hardware, definition: there } = description;
  const { uuid, name } = here;
  const refuse = (message: string): MigrationPreCheckError =>
    new MigrationPreCheckError(message, { instance: { uuid, name } });
  if (accelerator !== host.accelerator)
    throw refuse(`guests run on ${accelerator} on the source, on ${host.accelerator} on the destination`);
  if (cpuModel !== host.cpuModel)
    throw refuse(`guests have the CPU ${cpuModel} on the source, ${host.cpuModel} on the destination`);
  if (machineNamed(host.capabilities, hardware.machineType) === undefined)
    throw refuse(`QEMU on the destination has no machine ${hardware.machineType}`);
  return { definition: receivedDefinition(here, there), hardware };
}

/**
 * Starts QEMU for a guest that is defined as one that comes.
 * @throws GuestStartError, MigrationPreCheckError, AbortedError, DeadlineExceededError; then nothing runs
 */
export async function awaitGuest(
  core: GuestCore,
  request: IncomingMigrationRequest,
  options: CommonOptions,
): Promise<MigrationToken> {
  let token: MigrationToken | undefined;
  await receiveGuest(
    core,
    {
      inherited: [],
      receive: async (session, _, { signal }) => {
        session.setMoving(true);
        token = await listen(core, session, request, signal);
      },
      received: (state) => state,
      run: false,
      limitMs: core.host.timeouts.startMs,
    },
    options,
  );
  watchForPostcopy(core);
  return token as unknown as MigrationToken;
}

async function listen(
  core: GuestCore,
  session: GuestSession,
  request: IncomingMigrationRequest,
  signal: AbortSignal | undefined,
): Promise<MigrationToken> {
  const { host, definition, state } = core;
  const { tls } = host.migration;
  const agreed = await agree(core, session, signal);
  await session.execute("migrate-set-parameters", agreedParameters(agreed), { signal });
  if (tls !== undefined) {
    await addCredentials(session, tls, "server", signal);
    await session.execute("migrate-set-parameters", { "tls-creds": TLS_CREDENTIALS }, { signal });
  }
  const { copyDisks, listenAddress } = request;
  const disks = copyDisks.length === 0 ? undefined : await offerDisks(core, session, copyDisks, listenAddress, signal);
  let uri = "";
  const memory = await waitAt(core, "memory", listenAddress, async (address) => {
    uri = uriOf(address);
    await session.execute("migrate-incoming", { uri }, { signal });
  });
  const recovery = agreed.postcopy && memory.type === "inet" ? await anotherPort(core, memory) : undefined;
  await core.update((before) => withIncomingUris(before, uri, recovery === undefined ? uri : uriOf(recovery)));
  return {
    version: 1,
    uuid: definition.uuid,
    memory,
    ...(recovery === undefined ? {} : { recovery }),
    ...(disks === undefined ? {} : { disks }),
    copyDisks,
    ...agreed,
    tls: tls !== undefined,
    fingerprint: fingerprintOf(state.hardware, definition),
  };
}

function withIncomingUris(state: GuestState, uri: string, nextUri: string): GuestState {
  const { migration } = state;
  return migration?.role === "destination" ? withMigration(state, { ...migration, uri, nextUri }) : state;
}

/** Whether the guest may have a port. */
function isFree(core: GuestCore): (host: string, port: number) => Promise<boolean> {
  return async (host, port) => claimPort(core, port) && (await canListen(host, port));
}

/** A port that nobody has now, for later. */
function anotherPort(core: GuestCore, { host }: Extract<DirectAddress, { type: "inet" }>): Promise<DirectAddress> {
  return waitOnPort(core.instance, host, core.host.migration.ports, () => Promise.resolve(), isFree(core));
}

/** Whether the host can receive by post-copy QEMU finds out when it is asked to. */
async function agree(core: GuestCore, session: GuestSession, signal: AbortSignal | undefined): Promise<Agreement> {
  const { multifdChannels, compression } = core.host.migration;
  const without: Agreement = { postcopy: false, multifdChannels, compression };
  const wanted = multifdChannels > 0 ? without : { ...without, postcopy: true };
  try {
    await setCapabilities(session, incomingCapabilities(wanted), signal);
    return wanted;
  } catch (error) {
    if (!wanted.postcopy || !(error instanceof QmpCommandError)) throw error;
    await setCapabilities(session, incomingCapabilities(without), signal);
    return without;
  }
}

async function offerDisks(
  core: GuestCore,
  session: GuestSession,
  ids: readonly string[],
  listenAddress: string | undefined,
  signal: AbortSignal | undefined,
): Promise<MigrationAddress> {
  const credentials = core.host.migration.tls === undefined ? {} : { "tls-creds": TLS_CREDENTIALS };
  const address = await waitAt(core, "disks", listenAddress, (addr) =>
    session.execute("nbd-server-start", { addr: nbdListener(addr), ...credentials }, { signal }),
  );
  for (const id of ids) {
    const binding = bindingOf(core.state.hardware, "disk", id);
    if (binding === undefined)
      throw new MigrationPreCheckError(`the guest has no disk ${id} to be copied`, {
        instance: core.instance,
        device: id,
      });
    const { handle } = binding;
    await session.execute(
      "block-export-add",
      { type: "nbd", id: `${handle}-incoming`, "node-name": diskNode(handle), name: handle, writable: true },
      { signal },
    );
  }
  return address;
}

/** Has QEMU wait where guests are to come to; gives the address as the source needs it. */
async function waitAt(
  core: GuestCore,
  channel: MigrationChannel,
  listenAddress: string | undefined,
  wait: (address: DirectAddress) => Promise<unknown>,
): Promise<MigrationAddress> {
  const { migration, hostAddress } = core.host;
  const { transport, ports } = migration;
  if (transport === "tcp")
    return waitOnPort(
      core.instance,
      listenAddress ?? migration.listenAddress ?? (await hostAddress()),
      ports,
      wait,
      isFree(core),
    );
  const name = channel === "memory" ? GUEST_FILES.incoming : GUEST_FILES.incomingDisks;
  await wait({ type: "unix", path: pathInQemu(name) });
  return transport === "tunnel" ? { type: "tunnel" } : { type: "unix", path: fileOf(core, channel) };
}

function fileOf({ files }: GuestCore, channel: MigrationChannel): string {
  return channel === "memory" ? files.incoming : files.incomingDisks;
}

/**
 * Opens the destination's end of a stream of a tunnel.
 * @throws InvalidStateError when no guest is waited for here; HostIoError
 */
export async function openMigrationChannel(core: GuestCore, channel: MigrationChannel): Promise<Duplex> {
  requireIncoming(core, "openMigrationChannel");
  const path = fileOf(core, channel);
  if (!fitsSocket(path))
    throw new HostIoError({ operation: "reaching QEMU: the path is too long for a socket", path, cause: undefined });
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    const fail = (cause: Error): void => reject(new HostIoError({ operation: "reaching QEMU", path, cause }));
    socket.once("error", fail);
    socket.once("connect", () => {
      socket.off("error", fail);
      resolve(socket);
    });
  });
}

function requireIncoming(core: GuestCore, operation: string): IncomingRecord {
  const record = incomingOf(core);
  if (record !== undefined) return record;
  throw new InvalidStateError({
    operation,
    state: core.powerState,
    expected: ["migratingIn"],
    instance: core.instance,
  });
}
