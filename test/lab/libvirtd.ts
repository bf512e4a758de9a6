// A private libvirtd: own configuration, state, sockets and process namespace, nothing shared with the machine's own. It can be
// killed, frozen and started again while its directories, and the guests it started, stay.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdir, readFile, readdir, rmdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { requireNetworkRights } from "./sandbox.js";
import { requirePackages } from "./require-packages.js";
import { temporaryDirectory } from "./temporary-directory.js";
import type { TemporaryDirectory } from "./temporary-directory.js";
import { waitFor } from "./wait-for.js";

export interface LabLibvirtdOptions {
  /** Lines for libvirtd.conf; they count before the lab's own. */
  readonly config?: readonly string[];
  /** Lines for virtlogd.conf; a virtlogd of its own then writes the logs of consoles. It goes on while the daemon is away. */
  readonly logDaemon?: readonly string[];
  /** Lines for qemu.conf; they count before the lab's own. */
  readonly qemuConfig?: readonly string[];
  /** Whether its containers can start: the second hierarchy of control groups, which its LXC driver can't nest, is out of sight. */
  readonly containers?: boolean;
  /** Not the one daemon for everything but `virtqemud`, and beside it these for what else there is: `virtsecretd`, `virtnodedevd`, `virtproxyd` to listen. */
  readonly modular?: readonly string[];
  /** Listens on 127.0.0.1 too: for plain TCP on `port`, for TLS on `port` + 1. */
  readonly listen?: boolean;
  /** From which the ports count. Default 16609. */
  readonly port?: number;
  /** Files for the daemon's /etc/sasl2, such as libvirt.conf. */
  readonly sasl?: Readonly<Record<string, string>>;
  /** Where the emulators' probed abilities are kept; share one to spare the second daemon the probing. */
  readonly cacheDirectory?: string;
}

export interface LabLibvirtd extends AsyncDisposable {
  readonly directory: string;
  /** The sockets for reading and writing, and for reading only. */
  readonly socket: string;
  readonly readOnlySocket: string;
  readonly tcpPort: number;
  readonly tlsPort: number;
  /** A file in a place that daemon, guests and test share. */
  file(name: string): string;
  /** The URI of one of its drivers over the UNIX socket: `qemu`, `test`, `lxc`. */
  uri(driver: string): string;
  /** Starts the daemon after {@link LabLibvirtd.kill}; resolves when its sockets take connections. */
  start(): Promise<void>;
  /** Whether its socket takes connections. */
  isUp(): Promise<boolean>;
  /** Sends a signal to the daemon; guests are not touched. With SIGKILL or SIGTERM, resolves when it is gone. */
  kill(signal?: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): Promise<void>;
  /** What it has logged. */
  log(): Promise<string>;
  /** Ends the daemon, its guests, and all that they started, and removes its files. */
  remove(): Promise<void>;
}

const START_TIMEOUT_MS = 60_000;
const DEFAULT_PORT = 16_609;
const CONTROL_GROUPS = "/sys/fs/cgroup";

/** Process 1 of the daemon's namespaces: binds its directories over the system's, reaps orphans, takes orders line by line. */
const INIT = `
set -e
B=$1
for pair in etc:/etc/libvirt run:/run/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
  mkdir -p "\${pair#*:}"
  mount --bind "$B/\${pair%%:*}" "\${pair#*:}"
done
if [ -n "$3" ] && mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
if [ -d "$B/sasl2" ]; then mkdir -p /etc/sasl2; mount --bind "$B/sasl2" /etc/sasl2; fi
set +e
if [ -e /etc/libvirt/virtlogd.conf ]; then
  virtlogd -d -f /etc/libvirt/virtlogd.conf -p /run/libvirt/virtlogd.pid < /dev/null >> "$B/log/output" 2>&1
fi
echo ready
daemon=
while read -r order; do
  case $order in
    start*)
       for name in \${order#start}; do
         case $name in libvirtd | virtproxyd) listen=$2 ;; *) listen= ;; esac
         "$name" -f "/etc/libvirt/$name.conf" -p "/run/libvirt/$name.pid" $listen < /dev/null >> "$B/log/output" 2>&1 & daemon=$!
       done ;;
    *) kill -s "\${order#SIG}" "$daemon"
       case $order in SIGKILL | SIGTERM) wait "$daemon" 2> /dev/null ;; esac ;;
  esac
  echo "done"
done
`;

/** Makes the directories of a libvirtd and starts it. Needs root. On failure nothing is left. */
export async function startLibvirtd(options: LabLibvirtdOptions = {}): Promise<LabLibvirtd> {
  requireNetworkRights();
  requirePackages("libvirtd", "unshare");
  const directory = await temporaryDirectory("lv-");
  try {
    await writeConfiguration(directory, options);
    const supervisor = await Supervisor.start(directory.path, options);
    const daemon = labLibvirtd(directory, supervisor, options);
    try {
      await daemon.start();
      return daemon;
    } catch (error) {
      await daemon.remove();
      throw error;
    }
  } catch (error) {
    await directory.remove();
    throw error;
  }
}

function labLibvirtd(directory: TemporaryDirectory, supervisor: Supervisor, options: LabLibvirtdOptions): LabLibvirtd {
  const { port = DEFAULT_PORT, containers = false, modular } = options;
  const socket = directory.file(modular === undefined ? "sock/libvirt-sock" : "run/virtqemud-sock");
  const daemons = daemonsOf(options);
  const others = daemons.slice(0, -1).map((name) => (name === "virtproxyd" ? "libvirt-sock" : `${name}-sock`));
  const sockets = [...others.map((name) => directory.file(`run/${name}`)), socket];
  const log = async (): Promise<string> =>
    (await Promise.all(["log/libvirtd.log", "log/output"].map((name) => readText(directory.file(name))))).join("\n");
  const remove = async (): Promise<void> => {
    await supervisor.end();
    if (containers) await removeControlGroups();
    await directory.remove();
  };
  return {
    directory: directory.path,
    socket,
    readOnlySocket: `${socket}-ro`,
    tcpPort: port,
    tlsPort: port + 1,
    file: (name) => directory.file(name),
    uri: (driver) => `${driver}+unix:///${driver === "test" ? "default" : "system"}?socket=${socket}`,
    log,
    remove,
    [Symbol.asyncDispose]: remove,
    isUp: () => accepts(socket),
    async start() {
      await supervisor.order(`start ${daemons.join(" ")}`);
      const areUp = async (): Promise<boolean> => (await Promise.all(sockets.map(accepts))).every((up) => up);
      await waitFor(areUp, { timeoutMs: START_TIMEOUT_MS, what: "libvirtd's socket" }).catch(async (error: unknown) => {
        throw new Error(`libvirtd did not come up:\n${(await log()).slice(-4000)}`, { cause: error });
      });
    },
    async kill(signal = "SIGKILL") {
      await supervisor.order(signal);
    },
  };
}

/** The one that guests are had from last. */
function daemonsOf({ modular }: LabLibvirtdOptions): readonly string[] {
  return modular === undefined ? ["libvirtd"] : [...modular, "virtqemud"];
}

async function writeConfiguration(directory: TemporaryDirectory, options: LabLibvirtdOptions): Promise<void> {
  const { port = DEFAULT_PORT } = options;
  const folders = ["etc/qemu", "etc/nwfilter", "etc/secrets", "run", "lib/dnsmasq", "lib/network", "log", "sock"];
  for (const folder of folders) await mkdir(directory.file(folder), { recursive: true });
  if (options.cacheDirectory === undefined) await mkdir(directory.file("cache"));
  else {
    const { symlink } = await import("node:fs/promises");
    await mkdir(options.cacheDirectory, { recursive: true });
    await symlink(options.cacheDirectory, directory.file("cache"));
  }
  // Of two lines of one name libvirt takes the first.
  const daemonConfig = [
    ...(options.config ?? []),
    // Modular daemons find each other in libvirt's own place alone.
    ...(options.modular === undefined ? [`unix_sock_dir = "${directory.file("sock")}"`] : []),
    'unix_sock_group = "root"',
    'unix_sock_rw_perms = "0700"',
    'auth_unix_ro = "none"',
    'auth_unix_rw = "none"',
    `listen_tls = 0`,
    `listen_tcp = ${options.listen === true ? 1 : 0}`,
    `tcp_port = "${port}"`,
    `tls_port = "${port + 1}"`,
    'listen_addr = "127.0.0.1"',
    'auth_tcp = "none"',
    "log_level = 3",
    `log_outputs = "1:file:${directory.file("log/libvirtd.log")}"`,
  ];
  for (const name of daemonsOf(options))
    await writeFile(directory.file(`etc/${name}.conf`), `${daemonConfig.join("\n")}\n`);
  if (options.logDaemon !== undefined)
    await writeFile(directory.file("etc/virtlogd.conf"), `${options.logDaemon.join("\n")}\n`);
  const qemuConfig = [
    ...(options.logDaemon === undefined ? [] : ['stdio_handler = "logd"']),
    ...(options.qemuConfig ?? []),
    'user = "root"',
    'group = "root"',
    "dynamic_ownership = 0",
    "remember_owner = 0",
    'security_driver = "none"',
    "namespaces = [ ]",
    "cgroup_controllers = [ ]",
    'stdio_handler = "file"',
    "max_core = 0",
  ];
  await writeFile(directory.file("etc/qemu.conf"), `${qemuConfig.join("\n")}\n`);
  if (options.sasl === undefined) return;
  await mkdir(directory.file("sasl2"));
  for (const [name, content] of Object.entries(options.sasl)) await writeFile(directory.file(`sasl2/${name}`), content);
}

/** The process that holds the daemon's namespaces; when it goes, all in them is killed. */
class Supervisor {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #ended: Promise<void>;
  #turn: Promise<void> = Promise.resolve();

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#answers = createInterface({ input: child.stdout as Readable })[Symbol.asyncIterator]();
    this.#ended = new Promise((resolve) => {
      child.once("error", () => resolve());
      child.once("exit", () => resolve());
    });
    this.#stdin.on("error", () => undefined);
  }

  static async start(directory: string, options: LabLibvirtdOptions): Promise<Supervisor> {
    const { listen = false, containers = false } = options;
    const namespaces = [
      "--mount",
      "--uts",
      "--pid",
      "--fork",
      "--kill-child",
      "--mount-proc",
      "--propagation",
      "private",
    ];
    const settings = [directory, listen ? "--listen" : "", containers ? "containers" : ""];
    const argv = [...namespaces, "bash", "-c", INIT, "libvirtd-lab", ...settings];
    // Node runs in many threads; unshare(1) leads a group of its own, so that the keyboard's interrupt reaches the test alone.
    const child = spawn("unshare", argv, { stdio: ["pipe", "pipe", "inherit"], detached: true });
    const supervisor = new Supervisor(child);
    await supervisor.#answer();
    return supervisor;
  }

  /** Has an order carried out; one at a time. */
  async order(line: string): Promise<void> {
    const before = this.#turn;
    const turn = before.then(async () => {
      this.#stdin.write(`${line}\n`);
      await this.#answer();
    });
    this.#turn = turn.catch(() => undefined);
    await turn;
  }

  async end(): Promise<void> {
    this.#stdin.end();
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  get #stdin(): Writable {
    return this.#child.stdin as Writable;
  }

  async #answer(): Promise<void> {
    if ((await this.#answers.next()).done === true) throw new Error("the namespaces of libvirtd are gone");
  }
}

/** Whether something takes connections there. */
function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const settle = (result: boolean) => (): void => {
      socket.destroy();
      resolve(result);
    };
    socket.once("connect", settle(true));
    socket.once("error", settle(false));
  });
}

/** The groups above those of containers stay after the last of them; those that others use are not empty. */
async function removeControlGroups(): Promise<void> {
  for (const controller of await readdir(CONTROL_GROUPS).catch(() => []))
    await rmdir(`${CONTROL_GROUPS}/${controller}/machine`).catch(() => undefined);
}

async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
