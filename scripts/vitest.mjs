// Runs one vitest project and counts its tests.
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { availableSandbox, runInSandbox } from "./in-sandbox.mjs";
import { projectRoot } from "./lib/dependencies.mjs";
import { runInherited } from "./lib/run-inherited.mjs";
import { findCommand } from "./lib/system-packages.mjs";

/**
 * @typedef {{ name: string, reason: string | null }} Noted
 * @typedef {{ passed: number, failed: number, skipped: readonly Noted[], failures: readonly Noted[] }} Counts
 *
 * @param {"unit" | "integration" | "long" | "package"} project
 * @param {{ node?: string, sandbox?: boolean, halves?: boolean, aside?: boolean }} [options] `sandbox`: in a throw-away world in which nothing may
 *   be left behind. `halves`: in two of them at once, each with half of the files; what the second prints comes when the first is through.
 *   `aside`: beside another project, which comes first where there is not enough for both; what it prints comes at its end.
 * @returns {Promise<Counts>} `failed` is at least 1 if the run as a whole ended badly.
 */
export async function runProject(
  project,
  { node = process.execPath, sandbox = false, halves = false, aside = false } = {},
) {
  const directory = mkdtempSync(join(tmpdir(), "hypervise-counts-"));
  try {
    if (aside) {
      const log = join(directory, "aside.log");
      writeFileSync(log, `\n${project} tests\n`);
      return await printedLater(log, (output) => runPart(project, { node, sandbox, directory, output, aside }));
    }
    // Without worlds of their own the halves would meet.
    const apart = !process.env.HYPERVISE_SANDBOX && (await availableSandbox()) !== "none";
    if (!halves || !sandbox || !apart) return await runPart(project, { node, sandbox, directory });
    const parts = await printedLater(join(directory, "second.log"), (output) =>
      Promise.all([
        runPart(project, { node, sandbox, directory, shard: "1/2" }),
        runPart(project, { node, sandbox, directory, shard: "2/2", output }),
      ]),
    );
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

/** Prints at the end of the work what went to `output`. */
async function printedLater(log, work) {
  const output = openSync(log, "a");
  const done = await work(output).finally(() => closeSync(output));
  process.stdout.write(readFileSync(log));
  return done;
}

async function runPart(project, { node, sandbox, directory, shard, output, aside = false }) {
  const env = { HYPERVISE_COUNTS: join(directory, `counts-${(shard ?? "all").replace("/", "-")}.json`) };
  const vitest = join(projectRoot, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", `--reporter=${join(projectRoot, "scripts", "count-reporter.mjs")}`];
  const part = shard === undefined ? [] : [`--shard=${shard}`];
  const polite = aside && findCommand("nice") ? ["nice", "-n", "5"] : [];
  const argv = [...polite, node, vitest, "run", "--project", project, ...reporters, ...part];
  const exitCode = sandbox
    ? await runInSandbox(argv, { env, cwd: projectRoot, strict: true, output })
    : await runInherited(argv[0], argv.slice(1), { env, output });
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
