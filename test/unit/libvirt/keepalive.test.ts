import { describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { Keepalive } from "../../../src/libvirt/rpc/keepalive.js";
import type { KeepaliveOptions, Silence } from "../../../src/libvirt/rpc/keepalive.js";

function makeKeepalive(options: KeepaliveOptions = {}) {
  const clock = new VirtualClock();
  const seen = { pings: 0, dead: -1, meaning: "silent" as Silence };
  const keepalive = new Keepalive(
    { clock, meaning: () => seen.meaning, ping: () => seen.pings++, dead: (silentMs) => (seen.dead = silentMs) },
    { intervalMs: 1000, count: 3, stalledMs: 20_000, ...options },
  );
  keepalive.start();
  return { keepalive, clock, seen };
}

describe("keepalive", () => {
  it("pings after each interval of silence and gives up one interval after the last ping", async () => {
    const { clock, seen } = makeKeepalive();
    await clock.tick(999);
    expect(seen.pings).toBe(0);
    await clock.tick(2001);
    expect([seen.pings, seen.dead]).toEqual([3, -1]);
    await clock.tick(1000);
    expect([seen.pings, seen.dead]).toEqual([3, 4000]);
    expect(clock.pending).toBe(0);
  });

  it("takes anything that comes for a sign of life", async () => {
    const { keepalive, clock, seen } = makeKeepalive();
    for (let i = 0; i < 10; i++) {
      await clock.tick(900);
      keepalive.heard();
    }
    expect([seen.pings, seen.dead]).toEqual([0, -1]);
    await clock.tick(3999);
    expect(seen.dead).toBe(-1);
    await clock.tick(1);
    expect(seen.dead).toBe(4000);
  });

  it("does not count the silence of a daemon that may have stopped reading, unless it lasts", async () => {
    const { keepalive, clock, seen } = makeKeepalive();
    seen.meaning = "busy";
    await clock.tick(15_000);
    expect([seen.pings, seen.dead]).toEqual([0, -1]);
    keepalive.heard();
    await clock.tick(19_999);
    expect(seen.dead).toBe(-1);
    await clock.tick(1_001);
    expect(seen.dead).toBeGreaterThanOrEqual(20_000);
  });

  it("does not count silence while this side does not read, but shows that it lives", async () => {
    const { clock, seen } = makeKeepalive();
    seen.meaning = "deaf";
    await clock.tick(60_000);
    expect(seen.dead).toBe(-1);
    expect(seen.pings).toBe(60);
    seen.meaning = "silent";
    await clock.tick(5_000);
    expect(seen.dead).toBeGreaterThan(0);
  });

  it("does nothing when it is turned off", async () => {
    const { clock, seen } = makeKeepalive({ intervalMs: 0 });
    await clock.tick(1_000_000);
    expect([seen.pings, seen.dead, clock.pending]).toEqual([0, -1, 0]);
  });
});
