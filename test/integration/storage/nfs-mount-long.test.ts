// Volumes of an NFS server of a kernel, mounted by a kernel: in a guest whose kernel has both, whatever this machine's has.
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { requirePackages } from "../../lab/index.js";
import { bundleScript } from "../../lab/bundle-script.js";
import { fileServer, runInHostGuest } from "../../lab/host-guest.js";
import type { PartResult } from "./mounting-child.js";

const CHILD = fileURLToPath(new URL("mounting-child.ts", import.meta.url));
const PARTS = [
  "a guest reads and writes it, and finds what it wrote when it is mounted anew",
  "volumes of an export share a mount, and are seen to grow",
  "it is let go of when its server says nothing any more, and mounted when it comes back",
  "a process that dies as it has mounted leaves what the next one finds and takes away",
];

describe("a volume that is a file of a mounted NFS export", () => {
  let results: readonly PartResult[] = [];
  let output = "";

  beforeAll(async () => {
    requirePackages("qemu-system-x86_64", "mount.nfs", "ip");
    expect(await fileServer(), "virtiofsd, of qemu-system-common or a package of its own").toBeDefined();
    await using child = await bundleScript(CHILD);
    const script = `'${process.execPath}' '${child.path}'`;
    ({ output } = await runInHostGuest({ modules: ["nfs", "nfsv4", "nfsd"], script, timeoutMs: 1_440_000 }));
    results = output.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as PartResult] : []));
  }, 1_500_000);

  it.each(PARTS)("%s", (part) => {
    expect(results, output).toContainEqual({ part });
  });
});
