/** Containers on a real libvirtd: their console, which is logged and given to one at a time, their counters, and NICs and disks that come and go. */
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { GuestDisk, GuestNic } from "../../../../src/driver/index.js";
import { createBridge, run, waitFor } from "../../../lab/index.js";
import type { LabBridge } from "../../../lab/index.js";
import { makeContainerRoot } from "../../../lab/container-root.js";
import { HypervisorLab, disk, nic } from "./hypervisor-lab.js";

/** Answers lines with what it has: addresses of its NICs, and block devices. */
const INIT = `#!/bin/sh
trap 'exit 0' TERM INT
echo CT-READY
while :; do
  if read -r line; then echo "$line:" $(cat /sys/class/net/*/address) $(ls /dev); else sleep 1; fi
done
`;
const MAC = "52:54:00:00:00:07";

let lab: HypervisorLab;
let bridge: LabBridge;
let root: string;
let loop: string | undefined;
beforeAll(async () => {
  lab = await HypervisorLab.open({ virtType: "lxc" }, { containers: true, port: 16_889 });
  bridge = await createBridge();
  root = await makeContainerRoot(lab.directory.path, { init: INIT, programs: ["sleep", "cat", "ls"] });
}, 120_000);
afterAll(async () => {
  await lab?.[Symbol.asyncDispose]();
  await bridge?.remove();
  if (loop !== undefined) await run(["losetup", "--detach", loop]);
});

type Guest = Awaited<ReturnType<HypervisorLab["define"]>>;

function port(id: string, number: number): GuestNic {
  const backend = { type: "tap", deviceName: `hvct${number}`, bridge: bridge.name, queues: 1 } as const;
  return nic(id, number, { backend });
}

function define(nics: readonly GuestNic[] = []): Promise<Guest> {
  return lab.define({ disks: [disk("root", "vda", root)], nics, memoryMiB: 64, guestAgent: false });
}

async function logOf(guest: Guest): Promise<string> {
  return Buffer.from((await guest.consoleLog({ maxBytes: 102_400 })).bytes).toString();
}

async function untilLogged(guest: Guest, text: string): Promise<void> {
  await waitFor(async () => (await logOf(guest)).includes(text), { timeoutMs: 60_000, what: `${text} in the log` });
}

it(
  "has a console that is logged whoever reads it, and over a restart of the driver",
  { timeout: 120_000 },
  async () => {
    const guest = await define();
    expect(await logOf(guest)).toBe("");
    await expect(guest.openConsole()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await guest.start();
    await untilLogged(guest, "CT-READY");
    const stream = await guest.openConsole();
    await expect(guest.openConsole()).rejects.toMatchObject({ code: "CONFLICT" });
    let said = "";
    stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
    stream.write("first\n");
    await waitFor(() => said.includes("first:"), { timeoutMs: 60_000, what: "an answer" });
    await untilLogged(guest, "first:");
    stream.destroy();
    await once(stream, "close");

    await lab.reopen();
    const again = (await lab.hypervisor.find(guest.uuid))!;
    const second = await again.openConsole();
    second.write("second\n");
    await untilLogged(again, "second:");
    expect(await logOf(again)).toContain("first:");

    // The daemon ends, too; the container does not.
    await lab.daemon.kill("SIGKILL");
    await once(second.resume(), "close");
    await lab.daemon.start();
    const third = await waitFor(() => again.openConsole().catch(() => undefined), {
      timeoutMs: 60_000,
      what: "a console of the daemon that is back",
    });
    third.write("third\n");
    await untilLogged(again, "third:");
    const closed = once(third.resume(), "close");
    await again.kill();
    await closed;
    expect((await again.consoleLog({ maxBytes: 6 })).truncated).toBe(true);
    await lab.hypervisor.undefine(again.uuid);
    expect(await readdir(lab.directory.file("state/guests"))).not.toContain(again.uuid);
  },
);

it("counts, and is given NICs and disks while it runs", { timeout: 120_000 }, async () => {
  const guest = await define([port("front", 7)]);
  expect(await guest.statistics()).toMatchObject({ state: "shutdown", vcpus: [], disks: [], interfaces: [] });
  await guest.start();
  await untilLogged(guest, "CT-READY");
  let stream = await guest.openConsole();
  const answers = async (wanted: (answer: string) => boolean): Promise<void> => {
    const question = `q${Math.random().toString(36).slice(2)}`;
    stream.write(`${question}\n`);
    await untilLogged(guest, `${question}:`);
    const answer = await waitFor(
      async () => new RegExp(`${question}: ([^\\r\\n]*)\\r?\\n`).exec(await logOf(guest))?.[1],
      { timeoutMs: 60_000, what: "a whole answer" },
    );
    expect(wanted(answer), answer).toBe(true);
  };
  await answers((answer) => answer.includes(MAC));

  const [counted] = (await lab.hypervisor.allStatistics()).values();
  expect(counted).toMatchObject({
    state: "running",
    vcpus: [{ id: 0 }],
    memory: { maximumMiB: 64, currentMiB: 64 },
    disks: [{ id: "root" }],
    interfaces: [{ id: "front", macAddress: MAC }],
  });
  expect(counted!.vcpus[0]!.timeNs).toBeGreaterThan(0n);
  expect((await guest.interfaceStatistics("front")).rxErrors).toBe(0n);
  await expect(guest.interfaceStatistics("back")).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
  expect((await lab.hypervisor.allInfos()).get(guest.uuid)).toMatchObject({ state: "running", stale: false });
  expect((await lab.hypervisor.hostCpuStatistics()).idleNs).toBeGreaterThan(0n);

  await guest.attachNic(port("back", 8));
  await answers((answer) => answer.includes(MAC) && answer.includes("52:54:00:00:00:08"));
  expect((await guest.statistics()).interfaces.map(({ id }) => id).sort()).toEqual(["back", "front"]);
  expect(await guest.detachNic("back", { timeoutMs: 30_000 })).toBe("detached");
  await answers((answer) => !answer.includes("52:54:00:00:00:08"));
  expect(await guest.detachNic("back", { timeoutMs: 30_000 })).toBe("absent");

  const image = await lab.image("data.img");
  const file = disk("file", "vdc", image);
  await expect(guest.attachDisk(file)).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
  expect((await guest.definition()).disks.map(({ id }) => id)).toEqual(["root"]);
  loop = (await run(["losetup", "--find", "--show", image])).trim();
  const data: GuestDisk = disk("data", "vdb", loop, { source: { type: "block", path: loop, format: "raw" } });
  await guest.attachDisk(data);
  await answers((answer) => answer.split(" ").includes("vdb"));
  expect(await guest.detachDisk("data", { timeoutMs: 30_000 })).toBe("detached");
  await answers((answer) => !answer.split(" ").includes("vdb"));
  await guest.kill();

  // libvirt makes block devices of files for containers that it starts.
  await guest.attachDisk(file);
  await guest.start();
  stream = await guest.openConsole();
  await answers((answer) => answer.split(" ").includes("vdc"));
  await guest.kill();
});
