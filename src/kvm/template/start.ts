/** A guest that runs on from a template: its memory read from a file, its disks its own, its NICs exchanged for its own. */
import { randomUUID } from "node:crypto";
import { withRollback } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { GuestCrashedError } from "../../driver/index.js";
import type { GuestTemplate } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { killGuest } from "../lifecycle/stop.js";
import { requireHere } from "../migration/guard.js";
import { whileMoving } from "../migration/moving.js";
import { withoutClone } from "../state/state-changes.js";
import { startFromMemory } from "../suspend/start-from-memory.js";
import { exchangeNics, silenceNics } from "./exchange-nics.js";
import { cloneHardware, readTemplate, requireRunnable } from "./template-platform.js";

/**
 * Brings a guest that was never started into memory from a template, and lets it run. Resolves when it has its own NICs.
 * @throws TemplateUnusableError for a template that is none of this host's or none of the guest's; GuestStartError when QEMU can't read it, or when the guest does not let go of the template's NICs within `letGoMs`;
 * GuestCrashedError when it ends meanwhile;
 * what `startFromMemory` throws. Then nothing runs and the guest is as it was defined.
 */
export async function startFromTemplate(core: GuestCore, given: GuestTemplate, options: CommonOptions): Promise<void> {
  requireHere(core, "startFromTemplate");
  const template = readTemplate(given);
  requireRunnable(template, core.host);
  const { definition, hardware: former } = core.state;
  const hardware = cloneHardware(definition, template, randomUUID);
  await whileMoving(core, () =>
    withRollback(async (undo) => {
      if (!core.inMemory) {
        undo.defer("what the guest was", () => core.update(withoutClone));
        undo.defer("the guest", () => killGuest(core, {}));
        await core.update((state) => ({ ...state, hardware, clone: { definition, hardware: former } }));
      }
      await startFromMemory(
        core,
        template.memoryPath,
        {
          fresh: true,
          prepare: (session, signal) => silenceNics(core, session, signal),
          received: (state) => state,
          run: true,
        },
        options,
      );
      const { session } = core;
      await exchangeNics(core, definition.nics, options);
      if (session === undefined || core.session !== session || session.process.over)
        throw new GuestCrashedError("the guest ended while it was being started", { instance: core.instance });
      await core.update(({ clone: _, ...whole }) => whole);
    }),
  );
}
