// Runs one vitest project and counts its tests.
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { availableSandbox, runInSandbox } from "./in-sandbox.mjs";
import { projectRoot } from "./lib/dependencies.mjs";
import { runInherited } from "./lib/run-inherited.mjs";

/**
 * @typedef {{ name: string, reason: string | null }} Noted
 * @typedef {{ passed: number, failed: number, skipped: readonly Noted[], failures: readonly Noted[] }} Counts
 *
 * @param {"unit" | "integration" | "long" | "package"} project
 * @param {{ node?: string, sandbox?: boolean, halves?: boolean }} [options] `sandbox`: in a throw-away world in which nothing may be left
 *   behind. `halves`: in two of them at once, each with half of the files; what the second prints comes when the first is through.
 * @returns {Promise<Counts>} `failed` is at least 1 if the run as a whole ended badly.
 */
export async function runProject(project, { node = process.execPath, sandbox = false, halves = false } = {}) {
  const directory = mkdtempSync(join(tmpdir(), "hypervise-counts-"));
  try {
    // Without worlds of their own the halves would meet.
    const apart = !process.env.HYPERVISE_SANDBOX && (await availableSandbox()) !== "none";
    if (!halves || !sandbox || !apart) return await runPart(project, { node, sandbox, directory });
    const log = join(directory, "second.log");
    const output = openSync(log, "w");
    const parts = await Promise.all([
      runPart(project, { node, sandbox, directory, shard: "1/2" }),
      runPart(project, { node, sandbox, directory, shard: "2/2", output }),
    ]).finally(() => closeSync(output));
    process.stdout.write(readFileSync(log));
    return parts.reduce((sum, part) => ({
      passed: sum.passed + part.passed,
      failed: sum.failed + part.failed,
      skipped: [...sum.skipped, ...part.skipped],
      failures: [...sum.failures, ...part.failures],
    }));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function runPart(project, { node, sandbox, directory, shard, output }) {
  const env = { HYPERVISE_COUNTS: join(directory, `counts-${(shard ?? "all").replace("/", "-")}.json`) };
  const vitest = join(projectRoot, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", `--reporter=${join(projectRoot, "scripts", "count-reporter.mjs")}`];
  const part = shard === undefined ? [] : [`--shard=${shard}`];
  const argv = [node, vitest, "run", "--project", project, ...reporters, ...part];
  const exitCode = sandbox
    ? await runInSandbox(argv, { env, cwd: projectRoot, strict: true, output })
    : await runInherited(argv[0], argv.slice(1), { env });
  const counts = existsSync(env.HYPERVISE_COUNTS)
    ? JSON.parse(readFileSync(env.HYPERVISE_COUNTS, "utf8"))
    : { passed: 0, failed: 0, skipped: [], failures: [], broken: 1 };
  const failed = exitCode === 0 && counts.broken === 0 ? counts.failed : Math.max(counts.failed, 1);
  const failures =
    failed > 0 && counts.failures.length === 0
      ? [
          {
            name: `${project} tests`,
            reason: `ended with exit code ${exitCode}, though no test failed: something was left behind`,
          },
        ]
      : counts.failures;
  return { passed: counts.passed, failed, skipped: counts.skipped, failures };
}
