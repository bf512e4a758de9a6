// The packed tarball as a stranger meets it: installed in a fresh project, imported by a fresh process.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const repository = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");

export type Format = "esm" | "cjs";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, string | object>>;
}

export const manifest = JSON.parse(readFileSync(join(repository, "package.json"), "utf8")) as Manifest;

/** Each subpath with code behind it, as a user writes it: "hypervise", "hypervise/fake", … */
export const specifiers: readonly string[] = Object.entries(manifest.exports)
  .filter(([, target]) => typeof target === "object")
  .map(([subpath]) => manifest.name + subpath.slice(1));

export interface Finished {
  readonly exitCode: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; one that hangs is killed and has the exit code "SIGKILL". */
export function run(
  file: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv; readonly timeoutMs?: number } = {},
): Promise<Finished> {
  const { cwd = repository, env, timeoutMs = 300_000 } = options;
  return new Promise((resolve) => {
    execFile(
      file,
      args,
      {
        cwd,
        env: { ...process.env, ...env },
        timeout: timeoutMs,
        killSignal: "SIGKILL",
        maxBuffer: 64 << 20,
      },
      (error, stdout, stderr) => {
        const exitCode = error === null ? 0 : (error.code ?? error.signal ?? "unknown");
        resolve({ exitCode, stdout, stderr });
      },
    );
  });
}

/** As {@link run}, for what must succeed. */
export async function mustRun(...args: Parameters<typeof run>): Promise<string> {
  const finished = await run(...args);
  if (finished.exitCode !== 0) {
    throw new Error(
      `${args[0]} ${args[1].join(" ")} ended with ${finished.exitCode}\n${finished.stdout}\n${finished.stderr}`,
    );
  }
  return finished.stdout;
}

const PACK_MS = 900_000;

const bin = (name: string): string => join(repository, "node_modules", ".bin", name);

export class Workspace {
  readonly #directory: string;
  readonly tarball: string;

  private constructor(directory: string, tarball: string) {
    this.#directory = directory;
    this.tarball = tarball;
  }

  /** Builds and packs the package, and installs the tarball in one project of each format. */
  static async create(): Promise<Workspace> {
    const directory = await mkdtemp(join(tmpdir(), "hypervise-package-"));
    try {
      // It builds the package, maybe beside guests that boot.
      const pack = ["pack", "--silent", "--pack-destination", directory];
      await mustRun("npm", pack, { timeoutMs: PACK_MS });
      const workspace = new Workspace(directory, join(directory, `${manifest.name}-${manifest.version}.tgz`));
      for (const format of ["esm", "cjs"] as const) await workspace.#install(format);
      return workspace;
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  project(format: Format): string {
    return join(this.#directory, format);
  }

  async #install(format: Format): Promise<void> {
    const project = this.project(format);
    mkdirSync(project);
    const type = format === "esm" ? "module" : "commonjs";
    writeFileSync(join(project, "package.json"), JSON.stringify({ name: `${format}-user`, private: true, type }));
    const flags = ["--omit=optional", "--prefer-offline", "--no-audit", "--no-fund", "--silent"];
    await mustRun("npm", ["install", ...flags, this.tarball], { cwd: project });
    // What the package may load but must not load on its own is there to be loaded; likewise Node's types.
    for (const name of ["koffi", "@koromix", "ioctl-napi", "xmlbuilder2", "@types", "undici-types"]) {
      const source = join(repository, "node_modules", name);
      const target = join(project, "node_modules", name);
      if (existsSync(source) && !existsSync(target)) symlinkSync(source, target);
    }
  }

  /** Runs `source` as a module of the project and reads the JSON that it prints. */
  async evaluate(format: Format, source: string): Promise<unknown> {
    const script = join(this.project(format), format === "esm" ? "script.mjs" : "script.cjs");
    writeFileSync(script, source);
    return JSON.parse(await mustRun(process.execPath, [script], { cwd: this.project(format) })) as unknown;
  }

  /** Imports one subpath and does nothing, in a process of its own. */
  async importAlone(
    format: Format,
    specifier: string,
  ): Promise<Finished & { readonly loadedFiles: readonly string[] }> {
    const project = this.project(format);
    const script = join(project, format === "esm" ? "alone.mjs" : "alone.cjs");
    writeFileSync(script, format === "esm" ? `import "${specifier}";\n` : `require("${specifier}");\n`);
    const coverage = await mkdtemp(join(this.#directory, "coverage-"));
    const finished = await run(process.execPath, [script], {
      cwd: project,
      env: { NODE_V8_COVERAGE: coverage, NODE_OPTIONS: "" },
      timeoutMs: 60_000,
    });
    return { ...finished, loadedFiles: scriptsIn(coverage) };
  }

  /** Compiles `files` in the project with strict settings and module NodeNext, and gives what the compiler says. */
  async compile(format: Format, files: Readonly<Record<string, string>>): Promise<Finished> {
    const project = this.project(format);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(project, name), text);
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "ES2022",
          lib: ["ES2022", "ESNext.Disposable"],
          module: "NodeNext",
          types: ["node"],
          strict: true,
          exactOptionalPropertyTypes: true,
          skipLibCheck: false,
          preserveSymlinks: true,
          noEmit: true,
        },
        files: Object.keys(files),
      }),
    );
    return run(bin("tsc"), ["-p", project], { cwd: project });
  }

  /** The types as each kind of resolver of a consumer finds them. */
  async areTheTypesWrong(): Promise<Finished> {
    return run(bin("attw"), [this.tarball, "--profile", "node16", "--no-emoji", "--no-color"]);
  }

  listFiles(): Promise<Finished> {
    return run("tar", ["-tzf", this.tarball]);
  }

  readPacked(path: string): Promise<Finished> {
    return run("tar", ["-xzOf", this.tarball, path]);
  }

  async dispose(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** The files that V8 ran, from the coverage that Node wrote at exit. */
function scriptsIn(coverage: string): readonly string[] {
  const urls = readdirSync(coverage).flatMap((name) => {
    const { result } = JSON.parse(readFileSync(join(coverage, name), "utf8")) as { result: { url: string }[] };
    return result.map((script) => script.url);
  });
  return [...new Set(urls)].filter((url) => url.startsWith("file:")).map((url) => fileURLToPath(url));
}

/** The source files that went into a built file, as `src/…`, from its source map. */
export function sourcesOf(builtFile: string): readonly string[] {
  if (!existsSync(`${builtFile}.map`)) return [];
  const { sources } = JSON.parse(readFileSync(`${builtFile}.map`, "utf8")) as { sources: readonly string[] };
  return sources
    .map((source) => join(dirname(builtFile), source))
    .map((source) => /\/node_modules\/hypervise\/(src\/.*)$/.exec(source)?.[1])
    .filter((source) => source !== undefined);
}
