/** The command line by which `ssh` reaches a daemon on another host. No I/O. */
import { InvalidArgumentError } from "../../../core/index.js";
import type { ConnectUri } from "../connect-uri.js";

/** What is asked for on the other host. */
export interface SshTarget {
  /** Its socket, for hosts where a plain `nc` has to do. */
  readonly socketPath: string;
  readonly readOnly: boolean;
  /** Whether the other user's own daemon is meant: where its socket is, only that host knows. */
  readonly session: boolean;
}

const PROXIES = ["auto", "netcat", "native"] as const;
type SshProxy = (typeof PROXIES)[number];

/** What `sshauth` of the URI asks for, in OpenSSH's words. */
const AUTHENTICATIONS: Readonly<Record<string, string>> = {
  agent: "publickey",
  privkey: "publickey",
  password: "password",
  "keyboard-interactive": "keyboard-interactive",
};

/** What `known_hosts_verify` of the URI asks for. */
const HOST_KEY_CHECKS: Readonly<Record<string, string>> = { normal: "yes", auto: "accept-new", ignore: "no" };

/**
 * `command=` names another program than `ssh`. With `proxy=auto`, the default, the other host uses `virt-ssh-helper` if it has
 * it and `nc` otherwise; `proxy=native` insists on the first, `proxy=netcat` on the second. The parameters that libvirt reads for
 * its built-in SSH clients (transports `libssh`, `libssh2`) are translated into options of `ssh`.
 * @throws InvalidArgumentError without a host, and for values that libvirt would not take
 */
export function sshArgv(uri: ConnectUri, target: SshTarget): readonly [string, ...string[]] {
  const { host, port, user, parameters, flags } = uri;
  if (host === undefined || host === "")
    throw new InvalidArgumentError({ field: "uri", expected: "a host for the transport ssh" });
  const argv: [string, ...string[]] = [parameters.command ?? "ssh"];
  if (port !== undefined) argv.push("-p", String(port));
  if (user !== undefined) argv.push("-l", user);
  if (parameters.keyfile !== undefined) argv.push("-i", parameters.keyfile);
  argv.push("-T", "-e", "none");
  if (flags.has("no_tty")) argv.push("-o", "BatchMode=yes");
  if (flags.has("no_verify")) argv.push("-o", "StrictHostKeyChecking=no");
  else if (parameters.known_hosts_verify !== undefined)
    argv.push(
      "-o",
      `StrictHostKeyChecking=${lookUp(HOST_KEY_CHECKS, "known_hosts_verify", parameters.known_hosts_verify)}`,
    );
  if (parameters.known_hosts !== undefined)
    argv.push("-o", `UserKnownHostsFile=${quoteForConfig(parameters.known_hosts)}`);
  if (parameters.sshauth !== undefined) {
    const methods = parameters.sshauth.split(/[,!]/).map((name) => lookUp(AUTHENTICATIONS, "sshauth", name));
    argv.push("-o", `PreferredAuthentications=${[...new Set(methods)].join(",")}`);
  }
  argv.push("--", host, remoteCommand(uri, target));
  return argv;
}

/** What the other host's shell is asked to run. */
function remoteCommand(uri: ConnectUri, target: SshTarget): string {
  const { netcat, socket } = uri.parameters;
  const proxy = chooseProxy(uri, target);
  if (proxy === "native" && netcat !== undefined)
    throw new InvalidArgumentError({ field: "uri.netcat", value: netcat, expected: "no netcat with proxy=native" });
  const helper = `exec virt-ssh-helper ${target.readOnly ? "-r " : ""}${quote(uri.daemonUri)}`;
  const relay = netcatScript(netcat ?? "nc", socket ?? target.socketPath);
  if (proxy === "native") return `sh -c ${quote(helper)}`;
  if (proxy === "netcat") return `sh -c ${quote(relay)}`;
  return `sh -c ${quote(`if command -v virt-ssh-helper >/dev/null 2>&1; then ${helper}; else ${relay}; fi`)}`;
}

function chooseProxy(uri: ConnectUri, target: SshTarget): SshProxy {
  const { proxy, netcat, socket } = uri.parameters;
  if (proxy !== undefined && proxy !== "") {
    const chosen = PROXIES.find((name) => name === proxy);
    if (chosen === undefined)
      throw new InvalidArgumentError({ field: "uri.proxy", value: proxy, expected: PROXIES.join(", ") });
    return chosen === "auto" && netcat !== undefined ? "netcat" : chosen;
  }
  if (socket !== undefined || netcat !== undefined) return "netcat";
  return target.session ? "native" : "auto";
}

/** Some kinds of `nc` go on for ever after the end of their input unless they are told not to. */
function netcatScript(netcat: string, socketPath: string): string {
  const nc = quote(netcat);
  return `case "$(${nc} -q 2>&1)" in *"requires an argument"*) q=-q0 ;; *) q= ;; esac; exec ${nc} $q -U ${quote(socketPath)}`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A path as a value in the syntax of ssh_config. */
function quoteForConfig(path: string): string {
  if (path.includes('"'))
    throw new InvalidArgumentError({ field: "uri.known_hosts", value: path, expected: "a path without quotes" });
  return `"${path}"`;
}

function lookUp(table: Readonly<Record<string, string>>, parameter: string, name: string): string {
  const value = Object.hasOwn(table, name) ? table[name] : undefined;
  if (value !== undefined) return value;
  throw new InvalidArgumentError({ field: `uri.${parameter}`, value: name, expected: Object.keys(table).join(", ") });
}
