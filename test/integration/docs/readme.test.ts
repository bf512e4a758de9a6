import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { codeBlock } from "../../../scripts/docs/code-blocks.js";
import { collectResidue, expectNoResidue, temporaryDirectory, testGuest } from "../../lab/index.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));

it("the README's guest on QEMU starts, shuts down by itself and is gone", async () => {
  const before = await collectResidue();
  await using directory = await temporaryDirectory();
  const { disk } = await testGuest();
  const code = codeBlock("README.md", "kvm")
    .replaceAll("/var/lib/orchestrator", directory.path)
    .replace("/srv/debian-12.qcow2", disk)
    .replace(/(const \{ how \} = .*)\n/, "$1\nconsole.log(`off: ${how}`);\n");
  const program = join(directory.path, "kvm.mts");
  await writeFile(program, code);
  const env = { ...process.env, TSX_TSCONFIG_PATH: join(root, "tsconfig.json") };
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", program], { cwd: root, env });
  expect(stdout).toContain("off: guest");
  await expectNoResidue(before);
});
