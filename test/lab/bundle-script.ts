// A TypeScript program of the tests as one file for plain Node: many processes of it start in a moment.
import { mkdtemp, mkdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "tsup";

export interface BundledScript extends AsyncDisposable {
  /** Run it with `process.execPath`. */
  readonly path: string;
}

/** Below node_modules, so that the program finds the packages that it loads. */
const place = fileURLToPath(new URL("../../node_modules/.cache/hypervise-test/", import.meta.url));

/** @param script path of a `.ts` file. `await using` or `[Symbol.asyncDispose]()` removes what was made of it. */
export async function bundleScript(script: string): Promise<BundledScript> {
  await mkdir(place, { recursive: true });
  const directory = await mkdtemp(join(place, "script-"));
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    await build({
      config: false,
      entry: [script],
      outDir: directory,
      format: "esm",
      outExtension: () => ({ js: ".mjs" }),
      target: "node20",
      platform: "node",
      silent: true,
      dts: false,
      clean: false,
    });
  } catch (error) {
    await remove();
    throw error;
  }
  return { path: join(directory, `${basename(script, ".ts")}.mjs`), [Symbol.asyncDispose]: remove };
}
