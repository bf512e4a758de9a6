import { nwfilterTests } from "./nwfilter-tests.js";

nwfilterTests("others");
