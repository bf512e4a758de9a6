/** How QEMU on the source reaches the destination: at once, or by a tunnel; with certificates where both sides want them. */
import { MigrationPreCheckError } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { canSendDescriptors } from "../network-access.js";
import type { GuestSession } from "../session.js";
import { GUEST_FILES } from "../plan/command-line.js";
import { pathInQemu, uriOf } from "./addresses.js";
import type { DirectAddress } from "./addresses.js";
import { ShortPaths } from "./short-paths.js";
import { addCredentials } from "./tls.js";
import { asJson } from "./token.js";
import type { MigrationAddress, MigrationToken } from "./token.js";
import { OutgoingTunnels } from "./tunnel.js";

export interface Reached {
  /** Where QEMU is to send the memory to, for `migrate`. Asked for when it is about to. */
  memoryUri(signal: AbortSignal): Promise<string>;
  readonly disks?: DirectAddress;
  /** Name that the destination's certificate has to bear; absent without TLS. */
  readonly tlsHostname?: string;
  /** Why a tunnel broke; undefined while none has. */
  failure(): Error | undefined;
  close(): Promise<void>;
}

/** @throws MigrationPreCheckError, HostIoError, QmpCommandError; then nothing is left */
export async function reachDestination(
  core: GuestCore,
  session: GuestSession,
  token: MigrationToken,
  signal: AbortSignal,
): Promise<Reached> {
  const { migration } = core.host;
  const tlsHostname = token.tls ? (migration.tls?.peerName ?? hostOf(token.memory)) : undefined;
  if (token.tls && tlsHostname === undefined)
    throw new MigrationPreCheckError("the name in the destination's certificate is not known", {
      instance: core.instance,
      remedy: "Set migration.tls.peerName.",
    });
  if (migration.tls !== undefined) await addCredentials(session, migration.tls, "client", signal);
  const ways = new Ways(core, token);
  try {
    const memory = await ways.to(token.memory, "memory");
    const disks = token.disks === undefined ? undefined : await ways.to(token.disks, "disks");
    return {
      memoryUri: (limit) => ways.memoryUri(session, memory, limit),
      ...(disks === undefined ? {} : { disks }),
      ...(tlsHostname === undefined ? {} : { tlsHostname }),
      failure: () => ways.failure,
      close: () => ways.close(),
    };
  } catch (error) {
    await ways.close();
    throw error;
  }
}

function hostOf(address: MigrationAddress): string | undefined {
  return address.type === "inet" ? address.host : undefined;
}

/** What QEMU calls the descriptor. A second of the name takes the place of the first. */
const DESCRIPTOR_NAME = "migration";

class Ways {
  readonly #core: GuestCore;
  readonly #token: MigrationToken;
  readonly #tunnels: OutgoingTunnels | undefined;
  readonly #paths = new ShortPaths();
  /** Whose QEMU has a descriptor of ours, or may have. */
  #holder: GuestSession | undefined;

  constructor(core: GuestCore, token: MigrationToken) {
    this.#core = core;
    this.#token = token;
    const { openTunnel } = core.host.migration;
    const { uuid } = core.definition;
    if (openTunnel !== undefined) this.#tunnels = new OutgoingTunnels(openTunnel, { uuid, destination: asJson(token) });
  }

  get failure(): Error | undefined {
    return this.#tunnels?.failure;
  }

  async to(address: MigrationAddress, channel: "memory" | "disks"): Promise<DirectAddress> {
    if (address.type === "inet") return address;
    if (address.type === "unix") return { type: "unix", path: this.#paths.of(address.path) };
    const { files, instance } = this.#core;
    if (this.#tunnels === undefined)
      throw new MigrationPreCheckError("the destination is behind a tunnel, and the source has none", {
        instance,
        remedy: "Set migration.openTunnel.",
      });
    const file = channel === "memory" ? "outgoing" : "outgoingDisks";
    await this.#tunnels.listen(channel, this.#paths.of(files[file]));
    return { type: "unix", path: pathInQemu(GUEST_FILES[file]) };
  }

  /** A tunnel's descriptor goes to QEMU, where this process can hand it over and one connection carries all. */
  async memoryUri(session: GuestSession, memory: DirectAddress, signal: AbortSignal): Promise<string> {
    const { memory: destination, multifdChannels } = this.#token;
    if (destination.type !== "tunnel" || multifdChannels > 0 || !canSendDescriptors()) return uriOf(memory);
    const descriptor = await this.#tunnels?.openFirst("memory");
    if (descriptor === undefined) return uriOf(memory);
    try {
      this.#holder = session;
      await session.execute("getfd", { fdname: DESCRIPTOR_NAME }, { fds: [descriptor.fd], signal });
    } finally {
      descriptor.close();
    }
    return `fd:${DESCRIPTOR_NAME}`;
  }

  async close(): Promise<void> {
    const deadlineMs = this.#core.host.timeouts.queryMs;
    // It is there still only where QEMU was not told to use it.
    await this.#holder?.execute("closefd", { fdname: DESCRIPTOR_NAME }, { deadlineMs }).catch(() => undefined);
    await this.#tunnels?.close();
    this.#paths.close();
  }
}
