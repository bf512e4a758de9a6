/** The face of src/hypervisor: what the drivers of real hypervisors share below the seams. No entry of the package. */
export { backupRequestCheck, checkpointNotFound, refuseBackup, refuseBackupOf } from "./backup-request.js";
export type { GuestBackupOptions } from "./backup-request.js";
export { chooseModules } from "./choose-modules.js";
export { beginConvergence, converge, downtimeLimit } from "./convergence.js";
export type { Convergence } from "./convergence.js";
export { notify, withCopyProgress } from "./copy-progress.js";
export { defaultCollaborators } from "./default-collaborators.js";
export type { DefaultCollaboratorsOptions } from "./default-collaborators.js";
export {
  filePathCheck,
  guestDefinitionCheck,
  guestDiskCheck,
  guestNicCheck,
  refuseContradictions,
} from "./guest-definition-check.js";
export { DurableState } from "./durable-state.js";
export { receivedDefinition } from "./received-definition.js";
export { StallWatch } from "./stall-watch.js";
