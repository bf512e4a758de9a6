import { CONFIG_DRIVE_SCENARIOS } from "./support/config-drive-scenarios.js";
import { describeFaultLoops } from "./support/fault-loops.js";

describeFaultLoops(CONFIG_DRIVE_SCENARIOS, {
  doneAlready: new Set(["INSTANCE_EXISTS", "INVALID_STATE", "CONFLICT", "RESIZE_FAILED"]),
});
