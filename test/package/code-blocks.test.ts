import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";
import { expect, it } from "vitest";
import { codeBlock, codeBlocks } from "../../scripts/docs/code-blocks.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

it("TypeScript in the documents compiles", () => {
  const blocks = codeBlocks().filter(({ code }) => /^import /m.test(code));
  expect(blocks.length).toBeGreaterThan(5);
  // Files that are nowhere on the disk: each block as a module at the root, under the project's own options.
  const sources = new Map(blocks.map((block, index) => [join(root, `document-${index}.ts`), block]));
  const config = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, "tsconfig.json"), (path) => ts.sys.readFile(path)).config,
    ts.sys,
    root,
  );
  const options: ts.CompilerOptions = {
    ...config.options,
    incremental: false,
    noUnusedLocals: false,
    declaration: false,
    sourceMap: false,
  };
  delete options.tsBuildInfoFile;
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => sources.has(path) || fileExists(path);
  host.readFile = (path) => sources.get(path)?.code ?? readFile(path);
  host.getSourceFile = (path, languageVersion, ...rest) => {
    const block = sources.get(path);
    if (block === undefined) return getSourceFile(path, languageVersion, ...rest);
    return ts.createSourceFile(path, block.code, languageVersion);
  };
  const program = ts.createProgram([...sources.keys()], options, host);
  const problems = [...sources].flatMap(([path, { document, line }]) => {
    const file = program.getSourceFile(path);
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map((problem) => {
      const at = file === undefined ? 0 : file.getLineAndCharacterOfPosition(problem.start ?? 0).line;
      return `${document}:${line + at}: ${ts.flattenDiagnosticMessageText(problem.messageText, " ")}`;
    });
  });
  expect(problems).toEqual([]);
});

it("the README's unit test on the fake driver holds", async () => {
  const directory = await mkdtemp(join(tmpdir(), "hypervise-readme-"));
  try {
    const program = join(directory, "fake.mts");
    await writeFile(program, codeBlock("README.md", "fake"));
    const env = { ...process.env, TSX_TSCONFIG_PATH: join(root, "tsconfig.json") };
    const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", program], { cwd: root, env });
    expect(stdout).toContain("lifecycle crashed");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
