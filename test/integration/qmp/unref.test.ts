import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { startQemu } from "./qemu.js";

const face = fileURLToPath(new URL("../../../src/qmp/index.ts", import.meta.url));

/** Runs a program that connects and then has nothing more to do; gives its exit code, or undefined when it stays. */
async function runProgram(path: string, body: string, patienceMs: number): Promise<number | undefined> {
  const source = `const { QmpClient } = await import(${JSON.stringify(face)}); const path = ${JSON.stringify(path)}; ${body}; process.send("done");`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", source], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const exited = new Promise<number | undefined>((resolve) => child.once("exit", (code) => resolve(code ?? undefined)));
  await Promise.race([new Promise((resolve) => child.once("message", resolve)), exited]);
  child.disconnect();
  const timer = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), patienceMs).unref());
  const code = await Promise.race([exited, timer]);
  child.kill("SIGKILL");
  await exited;
  return code;
}

describe("an embedder that has nothing more to do", () => {
  it("exits although an idle client that was told so is connected", async () => {
    await using qemu = await startQemu();
    const body =
      'const qmp = await QmpClient.open({ path }, { unref: true }); await qmp.execute("query-status"); void qmp.events().next()';
    expect(await runProgram(qemu.path, body, 30_000)).toBe(0);
  });

  it("exits after close()", async () => {
    await using qemu = await startQemu();
    const body = 'const qmp = await QmpClient.open({ path }); await qmp.execute("query-status"); await qmp.close()';
    expect(await runProgram(qemu.path, body, 30_000)).toBe(0);
  });

  it("stays while a client is connected otherwise", async () => {
    await using qemu = await startQemu();
    expect(await runProgram(qemu.path, "globalThis.qmp = await QmpClient.open({ path })", 500)).toBeUndefined();
  });
});
