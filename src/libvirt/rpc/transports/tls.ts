/** TLS to a libvirt daemon, which after the handshake says with one byte whether it takes the client. */
import { isIP } from "node:net";
import { connect } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { abortErrorOf, onAbort } from "../../../core/index.js";
import { LibvirtAuthenticationError, LibvirtConnectError } from "../errors.js";
import { streamTransport } from "./stream-transport.js";
import type { LibvirtTransport } from "./transport.js";
import type { TlsMaterial } from "./tls-files.js";

export interface TlsTransportOptions {
  readonly host: string;
  readonly port: number;
  readonly material: TlsMaterial;
  /** Whether the daemon's certificate is to be checked. */
  readonly verify: boolean;
  readonly signal: AbortSignal;
}

const WELCOME = 0x01;

/**
 * Connects, checks the daemon's certificate and name, and waits for its word. On failure nothing stays open.
 * @throws LibvirtConnectError, LibvirtAuthenticationError, and the signal's error
 */
export async function connectTls(options: TlsTransportOptions): Promise<LibvirtTransport> {
  const { host, port } = options;
  const socket = await openTls(options);
  return streamTransport(socket, { description: `tls:${host}:${port}` });
}

function openTls(options: TlsTransportOptions): Promise<TLSSocket> {
  const { host, port, material, verify, signal } = options;
  const settings: ConnectionOptions = {
    host,
    port,
    ...material,
    rejectUnauthorized: verify,
    ...(isIP(host) === 0 ? { servername: host } : {}),
  };
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortErrorOf(signal));
    let socket: TLSSocket;
    try {
      socket = connect(settings);
    } catch (cause) {
      // Certificates that are none are found before anything is opened.
      return reject(new LibvirtConnectError("the TLS configuration can't be used", { retryable: false, cause }));
    }
    let secure = false;
    const settle = (outcome: () => void): void => {
      forget();
      socket.removeListener("readable", onReadable);
      socket.removeListener("end", onEnd);
      outcome();
    };
    const fail = (error: Error): void =>
      settle(() => {
        socket.destroy();
        reject(error);
      });
    const forget = onAbort(signal, () => fail(abortErrorOf(signal)));
    const onReadable = (): void => {
      const word = socket.read(1) as Buffer | null;
      if (word === null) return;
      if (word[0] === WELCOME) settle(() => resolve(socket));
      else fail(new LibvirtAuthenticationError("the daemon did not accept the client over TLS"));
    };
    const onEnd = (): void =>
      fail(
        secure
          ? new LibvirtAuthenticationError("the daemon refused the client's certificate, or there is none", {
              remedy: "install a client certificate that the daemon's authority has signed",
            })
          : new LibvirtConnectError("the daemon hung up before TLS was established"),
      );
    socket.once("secureConnect", () => (secure = true));
    socket.on("readable", onReadable);
    socket.on("end", onEnd);
    // Stays for the life of the socket until the transport listens: an error without a listener would end the process.
    socket.on("error", (cause: Error) => fail(tlsError(cause, secure)));
  });
}

function tlsError(cause: Error, secure: boolean): Error {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
  if (isSystemCode(code) && !secure)
    return new LibvirtConnectError(`the daemon can't be reached over TLS (${code})`, { cause });
  return new LibvirtAuthenticationError(`TLS with the daemon failed (${code})`, { cause });
}

/** Codes of the system's errors have no underscores; those of TLS do. */
function isSystemCode(code: string): boolean {
  return code !== "EPROTO" && /^E[A-Z0-9]+$/.test(code);
}
