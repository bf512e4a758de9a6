// Open vSwitch in user space, with a database, sockets and logs of its own: the system's is not touched.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { run, temporaryDirectory, waitForFile } from "../../lab/index.js";

const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";

export interface OpenVswitch extends AsyncDisposable {
  /** As `--db` takes it. */
  readonly database: string;
  vsctl(...words: readonly string[]): Promise<string>;
}

/** Runs it in the network namespace of the test. */
export async function startOpenVswitch(): Promise<OpenVswitch> {
  const directory = await temporaryDirectory("hvs-");
  const database = `unix:${directory.file("db.sock")}`;
  const environment = Object.fromEntries(
    ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"].map((name) => [name, directory.path]),
  );
  const children: ChildProcess[] = [];
  const start = (file: string, ...args: readonly string[]): void => {
    children.push(spawn(file, args, { stdio: "ignore", env: { ...process.env, ...environment } }));
  };
  const stop = async (): Promise<void> => {
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
    }
    await directory.remove();
  };
  const vsctl = (...words: readonly string[]): Promise<string> =>
    run(["ovs-vsctl", `--db=${database}`, "--timeout=60", ...words], { timeoutMs: 90_000 });
  try {
    await run(["ovsdb-tool", "create", directory.file("conf.db"), SCHEMA]);
    start("ovsdb-server", directory.file("conf.db"), `--remote=p${database}`);
    await waitForFile(directory.file("db.sock"), { timeoutMs: 60_000 });
    await vsctl("--no-wait", "init");
    start("ovs-vswitchd", database, "--disable-system", "--pidfile");
    await waitForFile(directory.file("ovs-vswitchd.pid"), { timeoutMs: 60_000 });
    return { database, vsctl, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
