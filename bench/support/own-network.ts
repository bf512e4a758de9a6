/** A benchmark's own network and mounts, which vanish with it. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** Runs the benchmark again in namespaces of its own, and ends this process with it; returns in the one inside. Wants root. */
export function enterOwnNetwork(moduleUrl: string): void {
  if (process.env["HYPERVISE_BENCH_INSIDE"] !== undefined) return;
  // Interfaces are shown by the /sys that was mounted in their own namespace.
  const inside = ["sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh"];
  const node = [process.execPath, "--expose-gc", "--import", "tsx", fileURLToPath(moduleUrl)];
  const argv = ["--net", "--mount", ...inside, ...node];
  const env = { ...process.env, HYPERVISE_BENCH_INSIDE: "1" };
  const { status } = spawnSync("unshare", argv, { stdio: "inherit", env });
  process.exit(status ?? 1);
}
