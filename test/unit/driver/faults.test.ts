import { describeFaultLoops } from "./support/fault-loops.js";
import { SCENARIOS } from "./support/scenarios.js";

// A spawn that was completed says so when it is called again; a destroy may be told to keep the disks.
describeFaultLoops(SCENARIOS, { doneAlready: new Set(["INSTANCE_EXISTS"]), keeps: ({ kind }) => kind === "disk" });
