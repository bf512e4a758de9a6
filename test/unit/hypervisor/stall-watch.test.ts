import { describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { StallWatch } from "../../../src/hypervisor/index.js";

const timeouts = { progressMs: 100, stallMs: 1_000 };
const stalled = expect.objectContaining({ code: "MIGRATION_FAILED" }) as Error;

function watching(): { readonly clock: VirtualClock; readonly watch: StallWatch } {
  const clock = new VirtualClock();
  return { clock, watch: new StallWatch({ instance: { uuid: "u", name: "web" }, host: { clock, timeouts } }) };
}

describe("a migration of which nothing moves", () => {
  it("is given up when its figures have been the same for as long", async () => {
    const { clock, watch } = watching();
    for (let looks = 0; looks < 10; looks++, await clock.tick(100)) watch.look("active", 7n, 1);
    expect(() => watch.look("active", 7n, 1)).toThrow(stalled);
  });

  it("is not, while any figure changes", async () => {
    const { clock, watch } = watching();
    for (let looks = 0; looks < 100; looks++, await clock.tick(100)) watch.look("active", looks >> 3, 1);
  });

  it("is not for time in which nobody could look", async () => {
    const { clock, watch } = watching();
    watch.look(1);
    await clock.tick(60_000);
    watch.look(1);
    for (let looks = 0; looks < 8; looks++) {
      await clock.tick(100);
      if (looks < 7) watch.look(1);
    }
    expect(() => watch.look(1)).toThrow(stalled);
  });
});
