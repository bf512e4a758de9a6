/** How operations that had passed their point of no return are finished by a new process, or by the next operation on their instance. */
import type { CompletionHandler, OperationRecord } from "../core/index.js";
import { confirmMigrationAgain, finishRevertMigrationAgain } from "./operations/resize.js";
import { finishChangeMedium } from "./operations/change-medium.js";
import { finishDestroy } from "./operations/destroy.js";
import { finishDetachDevice } from "./operations/detach-device.js";
import { finishDetachInterface } from "./operations/detach-interface.js";
import { finishDetachVolume } from "./operations/detach-volume.js";
import { finishPowerOff } from "./operations/power-off.js";
import { finishReboot } from "./operations/reboot.js";
import { finishRebuild } from "./operations/rebuild.js";
import { finishSwapVolume } from "./operations/swap-volume.js";
import { finishUnrescue } from "./operations/rescue.js";
import type { HostContext } from "./host-context.js";
import { liveMigrationAgain } from "./operations/live-migration.js";
import {
  postLiveMigrationAtSourceAgain,
  rollbackLiveMigrationAtDestinationAgain,
} from "./operations/post-live-migration.js";

type Finish = (host: HostContext, operation: OperationRecord) => Promise<void>;

/** One for each kind of operation that has a point of no return. All are repeatable. */
const FINISHERS: { readonly [kind: string]: Finish } = {
  destroy: finishDestroy,
  cleanup: finishDestroy,
  powerOff: finishPowerOff,
  reboot: finishReboot,
  detachVolume: finishDetachVolume,
  detachInterface: finishDetachInterface,
  detachDevice: finishDetachDevice,
  changeMedium: finishChangeMedium,
  swapVolume: finishSwapVolume,
  rebuild: (host, operation) => withUuid(operation, (uuid) => finishRebuild(host, uuid)),
  unrescue: (host, operation) => withUuid(operation, (uuid) => finishUnrescue(host, uuid)),
  confirmMigration: confirmMigrationAgain,
  finishRevertMigration: finishRevertMigrationAgain,
  liveMigration: liveMigrationAgain,
  postLiveMigrationAtSource: postLiveMigrationAtSourceAgain,
  rollbackLiveMigrationAtDestination: rollbackLiveMigrationAtDestinationAgain,
};

export function completionHandlers(contextOf: () => HostContext): { readonly [kind: string]: CompletionHandler } {
  const bind = ([kind, finish]: [string, Finish]): [string, CompletionHandler] => [
    kind,
    (operation) => finish(contextOf(), operation),
  ];
  return Object.fromEntries(Object.entries(FINISHERS).map(bind));
}

async function withUuid({ instanceUuid }: OperationRecord, finish: (uuid: string) => Promise<void>): Promise<void> {
  if (instanceUuid !== undefined) await finish(instanceUuid);
}
