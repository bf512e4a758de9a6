import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (path: string): string => fileURLToPath(new URL(`src/${path}`, import.meta.url));

const LONG = ["test/integration/**/*crash.test.ts", "test/integration/**/*-long.test.ts"];

const onRealGuests = {
  pool: "forks",
  // One file at a time, so that no more than two guests boot at once on a small machine.
  fileParallelism: false,
  testTimeout: 180_000,
  hookTimeout: 240_000,
} as const;

export default defineConfig({
  resolve: {
    // The package's own name is its sources, never a dist/ of yesterday.
    alias: [
      { find: /^hypervise$/, replacement: source("index.ts") },
      { find: /^hypervise\/([a-z]+)$/, replacement: source("$1/index.ts") },
    ],
  },
  test: {
    teardownTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          pool: "threads",
          maxWorkers: 2,
          // Loading each file's modules anew would take half the time of the whole.
          isolate: false,
          testTimeout: 10_000,
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          exclude: LONG,
          ...onRealGuests,
        },
      },
      {
        extends: true,
        test: {
          // Processes killed at every point of long operations, and what else takes minutes.
          name: "long",
          include: LONG,
          ...onRealGuests,
        },
      },
      {
        extends: true,
        test: {
          name: "package",
          include: ["test/package/**/*.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 1_200_000,
        },
      },
    ],
  },
});
