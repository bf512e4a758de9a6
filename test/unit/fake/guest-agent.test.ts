import { describe, expect, it } from "vitest";
import { Secret, VirtualClock } from "../../../src/core/index.js";
import { bench } from "./parts.js";

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

describe("the agent of a fake guest", () => {
  it("keeps files, runs programs, shows addresses", async () => {
    const { guest } = await bench();
    await guest.start();
    const agent = guest.agent!;
    await agent.ping();
    await agent.writeFile("/etc/motd", new TextEncoder().encode("welcome"));
    expect(text(await agent.readFile("/etc/motd", { maxBytes: 3 }))).toBe("wel");
    await expect(agent.readFile("/nothing", { maxBytes: 3 })).rejects.toMatchObject({ code: "AGENT_COMMAND_FAILED" });
    expect(text((await agent.exec(["/bin/cat", "/etc/motd"])).stdout)).toBe("welcome");
    expect(text((await agent.exec(["cat"], { input: new TextEncoder().encode("in") })).stdout)).toBe("in");
    expect(await agent.exec(["rm", "-rf"])).toMatchObject({ exitCode: 127 });
    expect(await agent.exec(["__proto__"])).toMatchObject({ exitCode: 127 });
    const interfaces = await agent.interfaces();
    expect(interfaces.map(({ name }) => name)).toEqual(["lo", "eth0"]);
    expect(interfaces[1]).toMatchObject({ macAddress: "52:54:00:00:00:01", addresses: ["fe80::5054:ff:fe00:1/64"] });
  });

  it("keeps nothing of a password but a hash", async () => {
    const { guest, world } = await bench();
    await guest.start();
    await guest.agent!.setPassword("root", Secret.of("hunter2"));
    expect(world.guest(guest.uuid).checkPassword("root", "hunter2")).toBe(true);
    expect(world.guest(guest.uuid).checkPassword("root", "hunter3")).toBe(false);
    expect(JSON.stringify(world.snapshot())).not.toContain("hunter2");
  });

  it("is waited for while the guest boots", async () => {
    const clock = new VirtualClock();
    const { guest, world } = await bench({ clock });
    world.setBehaviour(guest.uuid, { bootMs: 2000 });
    await guest.start();
    const ping = guest.agent!.ping();
    await clock.tick(2000);
    await ping;
    expect(clock.pending).toBe(0);
  });

  it.each(["hung", "absent"] as const)("does not answer when it is %s", async (agent) => {
    const { guest, world } = await bench();
    world.setBehaviour(guest.uuid, { agent });
    await guest.start();
    const before = world.clock.now();
    await expect(guest.agent!.ping({ deadline: 1500 })).rejects.toMatchObject({
      code: "AGENT_UNRESPONSIVE",
      retryable: true,
    });
    expect(world.clock.now() - before).toBe(agent === "hung" ? 1500 : 0);
    const aborted = guest.agent!.ping({ signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("answers again when it no longer hangs", async () => {
    const { guest, world } = await bench({ clock: new VirtualClock() });
    world.setBehaviour(guest.uuid, { agent: "hung" });
    await guest.start();
    const ping = guest.agent!.ping();
    world.guest(guest.uuid).behave({ agent: "responding" });
    await ping;
  });

  it("is silent when it is slower than the caller has time, when it stands paused, and when there is no channel", async () => {
    const { guest, world } = await bench();
    await guest.start();
    world.setBehaviour(guest.uuid, { agentMs: 500 });
    await expect(guest.agent!.ping({ deadline: 400 })).rejects.toMatchObject({ code: "AGENT_UNRESPONSIVE" });
    await guest.agent!.ping({ deadline: 600 });
    await guest.pause();
    await expect(guest.agent!.ping()).rejects.toMatchObject({ code: "AGENT_UNRESPONSIVE" });
    await guest.kill();
    await expect(guest.agent!.ping()).rejects.toMatchObject({ code: "INVALID_STATE" });
    const without = await bench({ definition: { guestAgent: false } });
    await without.guest.start();
    await expect(without.guest.agent!.ping()).rejects.toMatchObject({ code: "AGENT_UNRESPONSIVE" });
    expect(without.events.map(({ type }) => type)).toEqual(["lifecycle"]);
  });

  it("freezes and thaws, does nothing else while frozen, and thaws by itself when it is forgotten", async () => {
    const { guest, world } = await bench();
    await guest.start();
    const agent = guest.agent!;
    expect(await agent.freeze()).toBe(1);
    expect(await agent.freeze()).toBe(1);
    expect(world.checkInvariants({ ignore: () => true })).toEqual([expect.stringContaining("frozen")]);
    await agent.ping();
    await expect(agent.exec(["true"])).rejects.toMatchObject({ code: "AGENT_COMMAND_FAILED" });
    await agent.thaw();
    await agent.thaw();
    expect(world.guest(guest.uuid).frozen).toBe(false);
    await agent.freeze();
    await world.clock.sleep(700_000);
    expect(world.guest(guest.uuid).frozen).toBe(false);
  });

  it("finds what was put into the guest before its first boot", async () => {
    const { guest, world } = await bench();
    const contents = new TextEncoder().encode("key");
    await guest.inject!({ adminPassword: Secret.of("s3cret"), files: [{ path: "/etc/key", contents }] });
    await guest.start();
    expect(world.guest(guest.uuid).file("/etc/key")).toBe("key");
    expect(world.guest(guest.uuid).checkPassword("root", "s3cret")).toBe(true);
    await expect(guest.inject!({ files: [] })).rejects.toMatchObject({ code: "INVALID_STATE" });
  });
});
