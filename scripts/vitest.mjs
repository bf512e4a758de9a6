// Runs one vitest project and counts its tests.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInSandbox } from "./in-sandbox.mjs";
import { projectRoot } from "./lib/dependencies.mjs";
import { runInherited } from "./lib/run-inherited.mjs";

/**
 * @typedef {{ name: string, reason: string | null }} Noted
 * @typedef {{ passed: number, failed: number, skipped: readonly Noted[], failures: readonly Noted[] }} Counts
 *
 * @param {"unit" | "integration" | "long" | "package"} project
 * @param {{ node?: string, sandbox?: boolean }} [options] `sandbox`: in a throw-away world in which nothing may be left behind.
 * @returns {Promise<Counts>} `failed` is at least 1 if the run as a whole ended badly.
 */
export async function runProject(project, { node = process.execPath, sandbox = false } = {}) {
  const directory = mkdtempSync(join(tmpdir(), "hypervise-counts-"));
  const env = { HYPERVISE_COUNTS: join(directory, "counts.json") };
  const vitest = join(projectRoot, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", `--reporter=${join(projectRoot, "scripts", "count-reporter.mjs")}`];
  const argv = [node, vitest, "run", "--project", project, ...reporters];
  try {
    const exitCode = sandbox
      ? await runInSandbox(argv, { env, cwd: projectRoot, strict: true })
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
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
