// A vitest reporter: writes the counts, each skipped test with its reason, and each failure with its first line, to the file named by
// HYPERVISE_COUNTS.
import { writeFileSync } from "node:fs";

export default class CountReporter {
  onTestRunEnd(testModules, unhandledErrors) {
    const counts = { passed: 0, failed: 0, skipped: [], failures: [], broken: unhandledErrors.length };
    const fail = (name, errors = []) => counts.failures.push({ name, reason: firstLine(errors[0]) });
    for (const error of unhandledErrors) fail("outside of any test", [error]);
    for (const testModule of testModules) {
      const before = counts.failed;
      const id = testModule.relativeModuleId;
      for (const suite of [testModule, ...testModule.children.allSuites()]) {
        const errors = suite.errors();
        if (errors.length > 0) fail(suite === testModule ? id : `${id} > ${suite.fullName}`, errors);
      }
      for (const test of testModule.children.allTests()) {
        const { state, note, errors } = test.result();
        const name = `${id} > ${test.fullName}`;
        if (state === "passed") counts.passed += 1;
        else if (state === "failed") {
          counts.failed += 1;
          fail(name, errors);
        } else counts.skipped.push({ name, reason: note ?? null });
      }
      // A file that can't be loaded, or whose set-up fails, has no failed test of its own.
      if (testModule.state() === "failed" && counts.failed === before) counts.failed += 1;
    }
    const file = process.env["HYPERVISE_COUNTS"];
    if (file !== undefined) writeFileSync(file, JSON.stringify(counts));
  }
}

function firstLine(error) {
  const text = String(error?.message ?? error ?? "no reason given").trim();
  return text.split("\n", 1)[0].slice(0, 300);
}
