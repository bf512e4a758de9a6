import { readFileSync } from "node:fs";
import { defineConfig } from "tsup";

interface Manifest {
  readonly exports: Readonly<Record<string, string | object>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

// package.json's `exports` is the one list of entry points: "./fake" is built from src/fake/index.ts.
const manifest = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8")) as Manifest;
const entryNames = Object.entries(manifest.exports)
  .filter(([, target]) => typeof target === "object")
  .map(([subpath]) => (subpath === "." ? "index" : `${subpath.slice(2)}/index`));

export default defineConfig({
  entry: Object.fromEntries(entryNames.map((name) => [name, `src/${name}.ts`])),
  format: ["esm", "cjs"],
  target: "node20.19",
  platform: "node",
  external: Object.keys(manifest.optionalDependencies),
  // Shared chunks in both formats, so that an error class is one class whichever subpath it came from.
  splitting: true,
  // Rollup writes each chunk after esbuild has split it; without this tsup rewrites the class fields of the CommonJS chunks.
  treeshake: true,
  shims: true,
  sourcemap: true,
  dts: true,
  clean: true,
  silent: true,
});
