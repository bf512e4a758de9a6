import { describeFaultLoops } from "./support/fault-loops.js";
import { REDEFINITION_SCENARIOS } from "./support/redefinition-scenarios.js";

describeFaultLoops(REDEFINITION_SCENARIOS, {
  doneAlready: new Set(["INVALID_STATE", "CONFLICT", "DISK_NOT_FOUND", "RESIZE_FAILED"]),
});
