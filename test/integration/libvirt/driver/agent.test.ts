/** The agent of a guest on a real libvirtd, and one that does not answer. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inspect } from "node:util";
import { Secret } from "../../../../src/core/index.js";
import { waitFor } from "../../../lab/index.js";
import { HypervisorLab } from "./hypervisor-lab.js";

type Guest = Awaited<ReturnType<HypervisorLab["define"]>>;

let lab: HypervisorLab;
beforeAll(async () => {
  lab = await HypervisorLab.open({ timeouts: { agentMs: 60_000 } });
}, 120_000);
afterAll(() => lab?.[Symbol.asyncDispose]());

async function sh({ agent }: Guest, command: string): Promise<string> {
  const { stdout } = await agent!.exec(["/bin/sh", "-c", command]);
  return Buffer.from(stdout).toString().trim();
}

describe("the agent of a guest", () => {
  it("does what it is asked, one thing after the other", { timeout: 240_000 }, async () => {
    const guest = await lab.linux();
    await guest.start();
    const agent = guest.agent!;
    await waitFor(
      () =>
        agent.ping().then(
          () => true,
          () => false,
        ),
      { timeoutMs: 120_000, what: "an agent that answers" },
    );

    // More than one command takes at once, at the same time as others.
    const contents = Buffer.from(Array.from({ length: 400_001 }, (_, i) => i % 251));
    const [, echoed] = await Promise.all([
      agent.writeFile("/run/large", contents),
      agent.exec(["/bin/sh", "-c", "cat; echo oops >&2; exit 3"], { input: Buffer.from("given") }),
      agent.setPassword("root", Secret.of("correct horse")),
    ]);
    expect(Buffer.from(await agent.readFile("/run/large", { maxBytes: 1_000_000 })).equals(contents)).toBe(true);
    await expect(agent.readFile("/run/large", { maxBytes: 1_000 })).rejects.toMatchObject({ code: "OVERFLOW" });
    expect(echoed.exitCode).toBe(3);
    expect([echoed.stdout, echoed.stderr].map((bytes) => Buffer.from(bytes).toString())).toEqual(["given", "oops\n"]);
    expect((await agent.exec(["/bin/sh", "-c", "kill -9 $$"])).exitCode).toBe(137);
    await expect(agent.exec(["/bin/cat"], { input: Buffer.alloc(200_000) })).rejects.toMatchObject({
      code: "OVERFLOW",
    });
    expect((await agent.interfaces()).find(({ name }) => name === "lo")?.addresses).toContain("127.0.0.1/8");

    await expect(agent.readFile("/no/such", { maxBytes: 10 })).rejects.toMatchObject({ code: "AGENT_COMMAND_FAILED" });
    const refused: unknown = await agent
      .setPassword("nobody-here", Secret.of("sesame"))
      .catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "AGENT_COMMAND_FAILED" });
    expect(inspect(refused, { depth: Infinity })).not.toContain("sesame");
    expect(inspect(refused, { depth: Infinity })).not.toContain(Buffer.from("sesame").toString("base64"));

    // What is given up is waited for by what comes after it.
    const stop = new AbortController();
    const freezing = agent.freeze({ signal: stop.signal });
    stop.abort();
    await expect(freezing).rejects.toMatchObject({ code: "ABORTED" });
    await agent.thaw();
    expect(await sh(guest, "echo written > /run/after && cat /run/after")).toBe("written");
    await agent.thaw();

    // Its clock goes on where the host's is.
    for (const standStill of [
      async () => {
        await guest.pause();
        await guest.resume();
      },
      async () => {
        await guest.suspend!.save();
        await guest.suspend!.restore();
      },
    ]) {
      await sh(guest, "date -s @1000000000");
      await standStill();
      const isNow = async (): Promise<boolean> => Number(await sh(guest, "date +%s").catch(() => "0")) > 1_500_000_000;
      await waitFor(isNow, { timeoutMs: 90_000, what: "the host's time in the guest" });
    }
    await guest.kill();
    await expect(agent.ping()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await agent.thaw();
  });

  it("is unresponsive where none is, and when it does not answer in time", { timeout: 120_000 }, async () => {
    const guest = await lab.define();
    await guest.start();
    await expect(guest.agent!.ping()).rejects.toMatchObject({ code: "AGENT_UNRESPONSIVE", retryable: true });
    await expect(guest.agent!.freeze()).rejects.toMatchObject({ code: "AGENT_UNRESPONSIVE" });
    await guest.kill();
    expect(guest.agent!.adminUser).toBe("root");
    const windows = { libvirt: { guestSystem: "windows" } };
    expect((await lab.define({ platform: windows })).agent!.adminUser).toBe("Administrator");
    const named = { libvirt: { adminUser: "ops" } };
    expect((await lab.define({ platform: named })).agent!.adminUser).toBe("ops");
    const without = await lab.define({ guestAgent: false });
    await without.start();
    await expect(without.agent!.ping()).rejects.toMatchObject({
      code: expect.stringMatching(/^(AGENT_UNRESPONSIVE|NOT_SUPPORTED)$/) as string,
    });
    await without.kill();
  });
});
