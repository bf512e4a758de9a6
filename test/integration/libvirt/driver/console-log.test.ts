/** Logs of consoles that virtlogd writes, which puts a new file in the place of a full one. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { waitFor } from "../../../lab/index.js";
import { isAlphabet, writeChattyGuest } from "../../kvm/busy-guest.js";
import { HypervisorLab, disk } from "./hypervisor-lab.js";

const TAIL = 102_400;

it("are read over the seams, and held short beside virtlogd", { timeout: 240_000 }, async () => {
  const logDaemon = ["max_size = 40000", "max_backups = 5"];
  await using lab = await HypervisorLab.open({}, { logDaemon });
  const root = await writeChattyGuest(lab.directory.file("chatty.img"));
  const guest = await lab.define({ disks: [disk("root", "vda", root)], guestAgent: false });
  const directory = join(lab.directory.path, "state", "guests", guest.uuid);
  const files = async (): Promise<readonly string[]> =>
    (await readdir(directory)).filter((name) => name.startsWith("console.log")).sort();

  await guest.start();
  await waitFor(async () => (await files()).includes("console.log.3"), { timeoutMs: 90_000, what: "full logs" });
  await guest.pause();
  // virtlogd reads what QEMU has left in its pipe.
  const lengths = async (): Promise<number> => {
    const sizes = await Promise.all((await files()).map(async (name) => (await stat(join(directory, name))).size));
    return sizes.reduce((sum, size) => sum + size, 0);
  };
  const tail = async (): Promise<string> => Buffer.from((await guest.consoleLog({ maxBytes: TAIL })).bytes).toString();
  await waitFor(async () => (await tail()) === (await tail()), { timeoutMs: 30_000, what: "the end of the log" });
  const { bytes, truncated } = await guest.consoleLog({ maxBytes: TAIL });
  expect([bytes.length, truncated]).toEqual([TAIL, true]);
  const said = Buffer.from(bytes).toString();
  expect(isAlphabet(said.slice(said.indexOf("a")))).toBe(true);

  await lab.reopen({ consoleLogBytes: 65_536 });
  const again = (await lab.hypervisor.find(guest.uuid))!;
  await again.resume();
  await waitFor(async () => (await tail()) !== said, { timeoutMs: 60_000, what: "letters after it goes on" });
  await again.pause();
  await waitFor(async () => (await lengths()) <= 65_536, { timeoutMs: 60_000, what: "a log that is short" });
  expect((await again.consoleLog({ maxBytes: TAIL })).bytes.length).toBeGreaterThan(0);
  await again.kill();
});
