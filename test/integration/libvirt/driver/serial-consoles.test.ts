/** Serial consoles on TCP ports of the host: who has which, and that nobody forgets it. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { expect, it } from "vitest";
import type { GuestDefinition } from "../../../../src/driver/index.js";
import { waitFor } from "../../../lab/index.js";
import { writeBusyGuest } from "../../kvm/busy-guest.js";
import { HypervisorLab, disk } from "./hypervisor-lab.js";

const ADDRESS = "127.0.0.1";

async function heardAt(port: number, enough: RegExp): Promise<string> {
  const socket = connect({ host: ADDRESS, port });
  let said = "";
  socket.on("data", (chunk: Buffer) => (said += chunk.toString("latin1")));
  await once(socket, "connect");
  await waitFor(() => enough.test(said), { timeoutMs: 60_000, what: `letters at port ${port}` });
  socket.destroy();
  return said;
}

it(
  "are given out, kept over a restart, exchanged when somebody else has them, and given back",
  { timeout: 240_000 },
  async () => {
    await using lab = await HypervisorLab.open({ serialConsole: { firstPort: 10_000, lastPort: 10_003 } });
    const root = await writeBusyGuest(lab.directory.file("busy.img"));
    const define = (overrides: Partial<GuestDefinition> = {}): ReturnType<HypervisorLab["define"]> =>
      lab.define({ disks: [disk("root", "vda", root)], guestAgent: false, ...overrides });
    const portOf = async (uuid: string): Promise<readonly (string | undefined)[]> =>
      ((await lab.domain(uuid, "configured")).devices?.serial ?? []).map(({ type, source }) =>
        type === "tcp" ? source?.[0]?.service : type,
      );

    const first = await define({ hardware: { extraSerialPorts: 1 } });
    expect(await portOf(first.uuid)).toEqual(["10000", "10001", "pty"]);
    await expect(define({ hardware: { extraSerialPorts: 3 } })).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    const both = await Promise.all([define(), define({ name: "other" })]);
    const taken = await Promise.all(both.map(({ uuid }) => portOf(uuid)));
    expect(taken.map(([port]) => port).sort()).toEqual(["10002", "10003"]);
    await expect(define()).rejects.toMatchObject({ code: "NO_CAPACITY" });

    await lab.reopen();
    await expect(define()).rejects.toMatchObject({ code: "NO_CAPACITY" });
    const [second, third] = both.map(({ uuid }) => uuid) as [string, string];
    await lab.hypervisor.undefine(second);
    await lab.hypervisor.undefine(third);

    // Somebody who does not ask.
    const stranger = createServer().listen(10_000, ADDRESS);
    await once(stranger, "listening");
    const guest = (await lab.hypervisor.find(first.uuid))!;
    await guest.start();
    expect(await portOf(first.uuid)).toEqual(["10001", "10002", "pty"]);
    expect(await guest.consoleAddress("serial")).toEqual({ kind: "serial", host: ADDRESS, port: 10_001 });
    await heardAt(10_001, /[a-z]{3}/);
    await waitFor(async () => (await lab.console(first.uuid)).length > 3, {
      timeoutMs: 60_000,
      what: "a log beside it",
    });
    const stream = await guest.openConsole();
    const closed = once(stream.resume(), "close");
    stranger.close();
    await guest.kill();
    await closed;
    await expect(guest.consoleAddress("serial")).rejects.toMatchObject({ code: "CONSOLE_UNAVAILABLE" });

    // With fewer it gives back what it does not need; a driver that has no range gives pseudo terminals.
    const { hardware: _, ...definition } = await guest.definition();
    await lab.hypervisor.redefine(definition);
    expect(await portOf(first.uuid)).toEqual(["10001", "pty"]);
    await lab.reopen({});
    expect(await portOf(first.uuid)).toEqual(["10001", "pty"]);
    await lab.hypervisor.redefine(definition);
    expect(await portOf(first.uuid)).toEqual(["pty"]);
  },
);
