import { nwfilterTests } from "./nwfilter-tests.js";

nwfilterTests("telling");
