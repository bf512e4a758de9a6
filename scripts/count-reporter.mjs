// A vitest reporter: writes the counts, and each skipped test with its reason, to the file named by HYPERVISE_COUNTS.
import { writeFileSync } from "node:fs";

export default class CountReporter {
  onTestRunEnd(testModules, unhandledErrors) {
    const counts = { passed: 0, failed: 0, skipped: [], broken: unhandledErrors.length };
    for (const testModule of testModules) {
      const before = counts.failed;
      for (const test of testModule.children.allTests()) {
        const { state, note } = test.result();
        if (state === "passed") counts.passed += 1;
        else if (state === "failed") counts.failed += 1;
        else counts.skipped.push({ name: `${testModule.relativeModuleId} > ${test.fullName}`, reason: note ?? null });
      }
      // A file that can't be loaded, or whose set-up fails, has no failed test of its own.
      if (testModule.state() === "failed" && counts.failed === before) counts.failed += 1;
    }
    const file = process.env["HYPERVISE_COUNTS"];
    if (file !== undefined) writeFileSync(file, JSON.stringify(counts));
  }
}
