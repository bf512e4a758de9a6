// Faults of single releases of libvirt by which whole tests are about nothing.
import { spawnSync } from "node:child_process";

/** major * 1,000,000 + minor * 1,000 + micro of the libvirtd that is installed; 0 where there is none. */
export function libvirtdVersion(): number {
  const { stdout } = spawnSync("libvirtd", ["--version"], { encoding: "utf8" });
  const [, major, minor, micro] = /(\d+)\.(\d+)\.(\d+)/.exec(stdout ?? "") ?? [];
  return Number(major ?? 0) * 1_000_000 + Number(minor ?? 0) * 1_000 + Number(micro ?? 0);
}

/** 11.2 and 11.3 die of a null pointer on the destination whenever the link of a post-copy is to be made anew. */
export function diesOfPostcopyRecovery(version = libvirtdVersion()): boolean {
  return version >= 11_002_000 && version < 11_004_000;
}
