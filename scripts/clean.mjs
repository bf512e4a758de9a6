// `npm run clean`: removes what the project's commands build, and keeps what they download;
// `npm run clean -- --cache` removes the test guest and its packages too.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory } from "./lib/cache-directory.mjs";
import { projectRoot } from "./lib/dependencies.mjs";

for (const name of ["dist", "temp", "coverage"]) rmSync(join(projectRoot, name), { recursive: true, force: true });
if (process.argv.includes("--cache")) {
  const cache = cacheDirectory();
  // Only what is ours: HYPERVISE_CACHE may name a directory that holds other things.
  for (const name of ["guest", "packages", "apt", "logs", "guest.lock"]) {
    rmSync(join(cache, name), { recursive: true, force: true });
  }
}
