import { access, chmod, copyFile, readFile, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import { requirePackages, run, temporaryDirectory, testGuest } from "../../lab/index.js";

const child = fileURLToPath(new URL("rootless-child.ts", import.meta.url));
const root = fileURLToPath(new URL("../../../", import.meta.url));
const NOBODY = "65534";
const asNobody = [
  "setpriv",
  "--reuid",
  NOBODY,
  "--regid",
  NOBODY,
  "--clear-groups",
  "--inh-caps=-all",
  "--bounding-set=-all",
];

/** Another user can be had, and can read the sources. */
async function possible(): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  return run([...asNobody, "test", "-r", child, "-a", "-x", process.execPath]).then(
    () => true,
    () => false,
  );
}

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img"));

it.runIf(await possible())("a driver without privileges runs guests on user-mode networks", async () => {
  await using directory = await temporaryDirectory();
  const { disk } = await testGuest();
  const image = directory.file("guest.qcow2");
  await copyFile(disk, image);
  await chmod(image, 0o644);
  await run(["chown", "-R", `${NOBODY}:${NOBODY}`, directory.path]);
  const environment = [`PATH=${process.env["PATH"] ?? ""}`, `HOME=${directory.path}`, `TMPDIR=${directory.path}`];
  await run(
    [
      ...asNobody,
      "env",
      "-C",
      root,
      "-i",
      ...environment,
      process.execPath,
      "--import",
      "tsx",
      child,
      directory.path,
      image,
    ],
    { timeoutMs: 170_000 },
  );
  const seen = JSON.parse(await readFile(directory.file("seen.json"), "utf8")) as object;
  expect(seen).toEqual({
    uid: Number(NOBODY),
    refusal: "NOT_SUPPORTED",
    found: expect.stringMatching(/^10\.0\.2\./) as string,
    stopped: { how: "guest" },
    left: [],
  });
  expect(await readdir(directory.file("state/guests"))).toEqual([]);
  await expect(access(directory.file("state/disks/5d3c2f0e-0d8d-4f4e-9a51-3a4f0f9b7c01"))).rejects.toThrow();
});
