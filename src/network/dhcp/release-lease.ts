/** Gives a lease back in its holder's name, by dnsmasq's own helpers. */
import { watch } from "node:fs";
import { Deadline, isHyperviseError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { NetworkHostError } from "../errors.js";
import type { DhcpTimeouts } from "./dhcp-timeouts.js";
import type { StoredLease } from "./lease-file.js";

export interface LeaseRelease {
  /** The lease as long as the server has it. */
  readonly find: () => Promise<StoredLease | undefined>;
  readonly bridge: string;
  /** Where the file of leases is. */
  readonly directory: string;
  readonly commands: CommandRunner;
  readonly timeouts: DhcpTimeouts;
  readonly signal?: AbortSignal;
}

/** A packet may be lost: it is sent again when the server has not noted it after this part of the time. */
const ATTEMPTS = 4;

/** @throws NetworkHostError when the server keeps the lease; what the command runner throws. */
export async function releaseLease(release: LeaseRelease): Promise<void> {
  const { find, directory, timeouts, signal } = release;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const lease = await find();
    if (lease === undefined) return;
    const deadline = Deadline.after(timeouts.releaseMs / ATTEMPTS, { operation: "giving back a lease", signal });
    try {
      await untilChanged(
        directory,
        deadline,
        async () => (await find()) === undefined,
        () => send(release, lease),
      );
      return;
    } catch (error) {
      signal?.throwIfAborted();
      if (!isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
    } finally {
      deadline.dispose();
    }
  }
  throw new NetworkHostError("the DHCP server kept a lease that was given back", {
    remedy: "See whether lo is up in the server's network namespace.",
  });
}

async function send({ commands, bridge, timeouts }: LeaseRelease, lease: StoredLease): Promise<void> {
  const { address, macAddress, version6 } = lease;
  const argv =
    version6 === undefined
      ? ["dhcp_release", bridge, address, macAddress]
      : [
          "dhcp_release6",
          ...["--iface", bridge, "--ip", address, "--iaid", version6.iaid],
          ...["--client-id", version6.clientId, "--server-id", version6.serverId],
        ];
  await commands.run(argv, { timeoutMs: timeouts.commandMs });
}

/** Does something, and waits until a look at each change of a directory says that it has had its effect. */
async function untilChanged(
  directory: string,
  deadline: Deadline,
  holds: () => Promise<boolean>,
  act: () => Promise<void>,
): Promise<void> {
  const watcher = watch(directory, { persistent: false });
  try {
    const done = new Promise<void>((resolve, reject) => {
      const look = (): void => void holds().then((isDone) => (isDone ? resolve() : undefined), reject);
      watcher.on("change", look);
      watcher.on("error", reject);
      act().then(look, reject);
    });
    await deadline.race(done);
  } finally {
    watcher.close();
  }
}
