// NICs on macvtap devices and on switches in user space, under a real QEMU.
import { afterEach, describe, expect, it } from "vitest";
import { MacvtapPlugger, VhostUserPlugger } from "../../../src/network/index.js";
import type { MacvtapVif } from "../../../src/network/index.js";
import { SwitchPort, run, waitFor } from "../../lab/index.js";
import { KvmLab, nic } from "./lab.js";

const PORT = "ab3e4f10-8f57-4a2b-9c6e-94bd3c9fd8aa";
const INSTANCE = "0d1c4a52-6f0c-4a35-8f0d-2f4c9f3f7a11";
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function openLab(): Promise<KvmLab> {
  const lab = await KvmLab.open();
  cleanups.push(() => lab[Symbol.asyncDispose]());
  return lab;
}

describe("a NIC on a macvtap device", () => {
  it("is there from the start, or is plugged into the guest that runs", async () => {
    await run(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
    cleanups.push(() => run(["ip", "link", "del", "up0"]));
    await run(["ip", "link", "set", "up0", "up"]);
    await run(["ip", "link", "set", "up1", "up"]);
    const plugger = new MacvtapPlugger();
    const vif = (id: string, last: number): MacvtapVif => ({
      ...{ id, network: { id: "net-1" }, parentInterface: "up0", macAddress: `52:54:00:00:00:0${last}` },
      type: "macvtap",
    });
    const [first, second] = [vif(PORT, 1), vif(`c${PORT.slice(1)}`, 2)] as const;
    const lab = await openLab();
    const backend = await plugger.plug(first, INSTANCE);
    const guest = await lab.define({ nics: [nic("one", 1, { backend })] });
    await guest.start();
    await guest.attachNic(nic("two", 2, { backend: await plugger.plug(second, INSTANCE) }), {});
    await guest.kill();
    for (const one of [first, second]) await plugger.unplug(one, INSTANCE);
    expect(await run(["ip", "-br", "link"])).not.toMatch(/tap[ac]b3e4f10/);
  });
});

describe("a NIC on a switch in user space", () => {
  it("shares the guest's memory with the switch, whoever of them listens, from the start or plugged in", async () => {
    const lab = await openLab();
    const vifs = await Promise.all(
      (["switch", "hypervisor", "switch", "hypervisor"] as const).map(async (server, at) => {
        const socketPath = lab.directory.file(`switch${at}.sock`);
        const id = `${at}${PORT.slice(1)}`;
        const vif = { type: "vhostUser", id, macAddress: `52:54:00:00:00:0${at}`, network: { id: "n" } } as const;
        const backend = await new VhostUserPlugger().plug({ ...vif, socketPath, server }, INSTANCE);
        return { backend, port: new SwitchPort(socketPath, server), nic: nic(`nic${at}`, at, { backend }) };
      }),
    );
    cleanups.push(() => Promise.all(vifs.map(({ port }) => port.close())));
    const [cold, hot] = [vifs.slice(0, 2), vifs.slice(2)];
    const guest = await lab.define({ nics: cold.map((vif) => vif.nic) });
    // QEMU that listens goes on only when the switch has come.
    for (const { port } of vifs) await port.listen();
    await Promise.all([guest.start(), ...cold.map(({ port }) => port.reach())]);
    for (const vif of hot) await Promise.all([guest.attachNic(vif.nic, {}), vif.port.reach()]);
    for (const { port } of vifs)
      await waitFor(() => port.isSetUp, {
        timeoutMs: 60_000,
        what: "a hypervisor at the switch's socket",
      });
    await guest.kill();
    for (const { port } of vifs) await waitFor(() => port.isLost, { timeoutMs: 60_000, what: "the hypervisor's end" });
  });
});
