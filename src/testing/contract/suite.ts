/** The contract that every driver keeps, as tests: one file an operation, run for the facets that the driver has. */
import { capabilitiesContract } from "./capabilities.js";
import { configDriveContract } from "./config-drive.js";
import { concurrencyContract } from "./concurrency.js";
import { consolesContract } from "./consoles.js";
import { ContractContext } from "./context.js";
import type { ContractHarness } from "./harness.js";
import type { ContractPart } from "./part.js";
import type { ContractRunner } from "./runner.js";
import { destroyContract } from "./destroy.js";
import { eventsContract } from "./events.js";
import { exportsContract } from "./exports.js";
import { firewallContract } from "./firewall.js";
import { guestAgentContract } from "./guest-agent.js";
import { hooksOf } from "./runner.js";
import { hotplugContract } from "./hotplug.js";
import { hostContract } from "./host.js";
import { interfacesContract } from "./interfaces.js";
import { liveMigrationContract } from "./live-migration.js";
import { mediaContract } from "./media.js";
import { pauseContract } from "./pause.js";
import { powerContract } from "./power.js";
import { queriesContract } from "./queries.js";
import { rebuildContract } from "./rebuild.js";
import { recoveryContract } from "./recovery.js";
import { rescueContract } from "./rescue.js";
import { resizeContract } from "./resize.js";
import { snapshotContract } from "./snapshot.js";
import { spawnContract } from "./spawn.js";
import { statisticsContract } from "./statistics.js";
import { suspendContract } from "./suspend.js";
import { volumesContract } from "./volumes.js";

const PARTS: Readonly<Record<string, ContractPart>> = {
  capabilities: capabilitiesContract,
  host: hostContract,
  spawn: spawnContract,
  "config drive": configDriveContract,
  destroy: destroyContract,
  power: powerContract,
  pause: pauseContract,
  suspend: suspendContract,
  queries: queriesContract,
  volumes: volumesContract,
  interfaces: interfacesContract,
  firewall: firewallContract,
  hotplug: hotplugContract,
  media: mediaContract,
  exports: exportsContract,
  snapshot: snapshotContract,
  rescue: rescueContract,
  rebuild: rebuildContract,
  resize: resizeContract,
  "live migration": liveMigrationContract,
  consoles: consolesContract,
  statistics: statisticsContract,
  "guest agent": guestAgentContract,
  events: eventsContract,
  concurrency: concurrencyContract,
  recovery: recoveryContract,
};

/**
 * Defines the suite with the runner's own functions: `defineContractSuite(harness, { describe, it, beforeAll, afterAll })`.
 * Needs no other set-up; every test leaves the host as it found it, or fails.
 */
export function defineContractSuite(harness: ContractHarness, runner: ContractRunner): void {
  const timeoutMs = harness.testTimeoutMs ?? 120_000;
  const { beforeAll, afterAll } = hooksOf(runner);
  runner.describe(`compute driver contract: ${harness.name}`, () => {
    const context = new ContractContext(harness);
    beforeAll(async () => {
      await context.open();
      await context.driver.initHost();
    }, timeoutMs);
    afterAll(() => context.close(), timeoutMs);
    for (const [name, part] of Object.entries(PARTS)) {
      const tests: (readonly [title: string, body: () => Promise<void>])[] = [];
      part(context, (title, body) => tests.push([title, body]));
      // Runners refuse an empty group.
      if (tests.length === 0) continue;
      runner.describe(name, () => {
        for (const [title, body] of tests) runner.it(title, body, timeoutMs);
      });
    }
  });
}
