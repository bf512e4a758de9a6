import assert from "node:assert/strict";
import { inspect } from "node:util";
import { rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const guestAgentContract: ContractPart = (context, it) => {
  if (!context.has("guestAgent")) return;

  it("sets a password, writes and reads files, and runs programs in a guest that is up", async () => {
    await context.withInstance(
      async (instance) => {
        await context.driver.setAdminPassword(instance, "correct horse");
        const contents = Buffer.from("written from outside\n");
        await context.driver.injectFile(instance, "/run/contract", contents);
        assert.deepEqual(Buffer.from(await context.driver.readGuestFile(instance, "/run/contract")), contents);
        const { exitCode } = await context.driver.execInGuest(instance, ["/bin/true"]);
        assert.equal(exitCode, 0);
        assert((await context.driver.getGuestInterfaces(instance)).length > 0);
        if (context.has("quiesce")) {
          await context.driver.quiesce(instance);
          for (const _again of [1, 2]) await context.driver.unquiesce(instance);
        }
      },
      { booted: true },
    );
  });

  it("rejects for a stopped guest, and lets no password out", async () => {
    await context.withInstance(
      async (instance) => {
        const error = await rejectsWith("INVALID_STATE", context.driver.setAdminPassword(instance, "correct horse"));
        assert.equal(inspect(error, { depth: Infinity }).includes("correct horse"), false);
      },
      { powerOn: false },
    );
  });
};
