import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { repository, run } from "./support/consumer.js";

describe("the check of the API reports", () => {
  let reports: string;

  beforeEach(() => {
    reports = mkdtempSync(join(tmpdir(), "hypervise-reports-"));
    cpSync(join(repository, "api"), reports, { recursive: true });
  });

  afterEach(() => {
    rmSync(reports, { recursive: true, force: true });
  });

  it("finds a report that is stale, one that is missing and one that is nobody's", async () => {
    const stale = join(reports, "hypervise.api.md");
    const text = readFileSync(stale, "utf8").replace("class HyperviseError", "class HyperviseMistake");
    writeFileSync(stale, text);
    rmSync(join(reports, "storage.api.md"));
    writeFileSync(join(reports, "forgotten.api.md"), "");

    const { exitCode, stdout, stderr } = await run(process.execPath, [
      join(repository, "scripts", "api-reports.mjs"),
      "--reports",
      reports,
    ]);
    expect(exitCode, stderr).toBe(1);
    expect(stderr).toContain("api/hypervise.api.md is stale");
    expect(stderr).toContain("api/storage.api.md is missing");
    expect(stderr).toContain("api/forgotten.api.md belongs to no entry point");
    expect(stdout).toMatch(/^-.*class HyperviseMistake/m);
    expect(stdout).toMatch(/^\+.*class HyperviseError/m);
    expect(readFileSync(stale, "utf8"), "a check writes nothing").toBe(text);
  });
});
