import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { POWER_OFF_KEY, RESET_KEY } from "../../../scripts/guest/boot-sector.mjs";
import { LabMachine, bootSector, requirePackages } from "../../lab/index.js";

const machines: LabMachine[] = [];

async function start(machine: string): Promise<LabMachine> {
  const drive = ["-drive", `if=virtio,format=raw,snapshot=on,file=${bootSector()}`];
  const started = await LabMachine.start({ machine, memoryMiB: 32, agent: false, arguments: drive });
  machines.push(started);
  await started.waitForSerial(/HV-BOOT/);
  return started;
}

beforeAll(() => requirePackages("qemu-system-x86_64"));

afterEach(async () => {
  await Promise.all(machines.splice(0).map((machine) => machine.kill()));
});

describe.each(["q35", "pc"])("the boot-sector guest on %s", (type) => {
  it("echoes what it receives, and powers off when told to", async () => {
    const machine = await start(type);
    machine.type("hello");
    await machine.waitForSerial(/HV-BOOT\s+hello/);
    machine.type(POWER_OFF_KEY);
    const shutdown = await machine.monitor.waitForEvent("SHUTDOWN");
    expect(shutdown.data).toEqual({ guest: true, reason: "guest-shutdown" });
    expect(await machine.exited).toEqual({ code: 0, signal: null });
  });

  it("resets when told to, and ignores the power button", async () => {
    const machine = await start(type);
    machine.type(RESET_KEY);
    const reset = await machine.monitor.waitForEvent("RESET");
    expect(reset.data).toMatchObject({ guest: true });
    await machine.waitForSerial(/HV-BOOT[^]*HV-BOOT/);

    await machine.monitor.execute("system_powerdown");
    await machine.monitor.waitForEvent("POWERDOWN");
    machine.type("still here");
    await machine.waitForSerial(/still here/);
    expect(await machine.monitor.execute("query-status")).toMatchObject({ status: "running" });
  });
});
