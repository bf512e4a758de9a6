/** From a connection URI to bytes that flow: chooses the transport and opens it. */
import { existsSync } from "node:fs";
import { InvalidArgumentError, abortErrorOf, isHyperviseError } from "../../../core/index.js";
import type { Clock } from "../../../core/index.js";
import { openSocket, openUnixSocket } from "../../../host/index.js";
import type { ConnectUri } from "../connect-uri.js";
import { LibvirtConnectError } from "../errors.js";
import { childTransport } from "./child-transport.js";
import { isSessionUri, libvirtSocketPath } from "./socket-path.js";
import { sshArgv } from "./ssh-command.js";
import { streamTransport } from "./stream-transport.js";
import { connectTls } from "./tls.js";
import { readTlsFiles, tlsFileCandidates, tlsFilesIn } from "./tls-files.js";
import type { LibvirtTransport } from "./transport.js";

export interface OpenTransportOptions {
  readonly readOnly: boolean;
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

/**
 * Opens the transport that a URI names. On failure nothing stays open.
 * @throws LibvirtConnectError, LibvirtAuthenticationError, InvalidArgumentError, and the signal's error
 */
export async function openTransport(uri: ConnectUri, options: OpenTransportOptions): Promise<LibvirtTransport> {
  switch (uri.transport) {
    case "unix":
      return openUnix(uri, options);
    case "tcp":
      return openTcp(uri, options);
    case "tls":
      return openTls(uri, options);
    case "ssh":
    case "libssh":
    case "libssh2":
      return openSsh(uri, options);
    case "ext":
      return openExternal(uri, options);
  }
}

async function openUnix(uri: ConnectUri, options: OpenTransportOptions): Promise<LibvirtTransport> {
  const path = socketPathOf(uri, options.readOnly);
  const socket = await openUnixSocket(path, options.signal).catch((cause: unknown) => {
    throw socketError(cause, options.signal, "libvirt's socket", path);
  });
  return streamTransport(socket, { description: `unix:${path}`, clock: options.clock, fdSocket: socket });
}

async function openTcp(uri: ConnectUri, { signal, clock }: OpenTransportOptions): Promise<LibvirtTransport> {
  const { host, port } = hostAndPort(uri);
  const where = `tcp:${host}:${port}`;
  const socket = await openSocket({ host, port, noDelay: true }, signal).catch((cause: unknown) => {
    throw socketError(cause, signal, "the daemon", where);
  });
  return streamTransport(socket, { description: where, clock });
}

async function openTls(uri: ConnectUri, { signal }: OpenTransportOptions): Promise<LibvirtTransport> {
  const { pkipath, tls_priority: priority } = uri.parameters;
  if (priority !== undefined) {
    const expected = "no tls_priority: it is written for another TLS library; Node's own defaults are used";
    throw new InvalidArgumentError({ field: "uri.tls_priority", value: priority, expected });
  }
  const places = pkipath === undefined ? tlsFileCandidates(currentUid(), process.env["HOME"]) : [tlsFilesIn(pkipath)];
  const material = await readTlsFiles(places);
  return connectTls({ ...hostAndPort(uri), material, verify: !uri.flags.has("no_verify"), signal });
}

function openSsh(uri: ConnectUri, { readOnly, clock }: OpenTransportOptions): Promise<LibvirtTransport> {
  const session = isSessionUri(uri, currentUid());
  const argv = sshArgv(uri, { socketPath: socketPathOf(uri, readOnly), readOnly, session });
  return childTransport(argv, { description: `ssh:${uri.host ?? ""}`, clock });
}

async function openExternal(uri: ConnectUri, { clock }: OpenTransportOptions): Promise<LibvirtTransport> {
  const { command } = uri.parameters;
  if (command === undefined || command === "")
    throw new InvalidArgumentError({ field: "uri.command", expected: "a program, for the transport ext" });
  return childTransport([command], { description: `ext:${command}`, clock });
}

function socketPathOf(uri: ConnectUri, readOnly: boolean): string {
  return libvirtSocketPath(uri, { uid: currentUid(), env: process.env, exists: existsSync, readOnly });
}

function hostAndPort({ host, port, transport }: ConnectUri): { readonly host: string; readonly port: number } {
  if (port === undefined)
    throw new InvalidArgumentError({ field: "uri", expected: `a port for the transport ${transport}` });
  return { host: host ?? "localhost", port };
}

function currentUid(): number {
  return process.geteuid?.() ?? -1;
}

function socketError(cause: unknown, signal: AbortSignal, what: string, where: string): Error {
  if (signal.aborted) return abortErrorOf(signal);
  if (isHyperviseError(cause)) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
  return new LibvirtConnectError(`${what} can't be reached (${code})`, {
    cause,
    detail: where,
    retryable: code !== "EACCES" && code !== "EPERM",
    remedy: REMEDIES[code],
  });
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOENT: "start libvirt's daemon, or its socket unit; it is not started from here",
  ECONNREFUSED: "start libvirt's daemon",
  EACCES: "add the user to the group libvirt, or open the connection for reading only",
};
