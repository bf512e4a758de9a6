import { describeFaultLoops } from "./support/fault-loops.js";
import { HARDWARE_SCENARIOS } from "./support/hardware-scenarios.js";

describeFaultLoops(HARDWARE_SCENARIOS, { doneAlready: new Set(["INSTANCE_EXISTS", "CONFLICT"]) });
