/** The user name and password for a daemon: the embedder's, or those of libvirt's auth.conf. */
import { readFile } from "node:fs/promises";
import { Secret } from "../../../core/index.js";
import type { SecretLike } from "../../../core/index.js";
import type { ConnectUri } from "../connect-uri.js";
import { LibvirtAuthenticationError } from "../errors.js";

/** What proves to a daemon who calls. */
export interface LibvirtCredentials {
  readonly username: string;
  readonly password: SecretLike;
}

/** What an embedder is told when it is asked for credentials. */
export interface CredentialRequest {
  /** The mechanisms that the daemon offers: `SCRAM-SHA-256`. */
  readonly mechanisms: readonly string[];
  /** The host of the URI; `localhost` for a UNIX socket. */
  readonly host: string;
  readonly signal: AbortSignal;
}

/** Credentials, or a function that is asked when the daemon wants them. */
export type CredentialSource =
  | LibvirtCredentials
  | ((request: CredentialRequest) => LibvirtCredentials | undefined | Promise<LibvirtCredentials | undefined>);

/** Credentials as they are used here. */
export interface ResolvedCredentials {
  readonly username: string;
  readonly password: Secret;
}

/** Where libvirt looks for auth.conf: the first that is there counts. */
export function authFileCandidates(
  uri: Pick<ConnectUri, "parameters" | "user"> & { readonly authFile?: string | undefined },
  env: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const named = env["LIBVIRT_AUTH_FILE"];
  if (named !== undefined && named !== "") return [named];
  const given = uri.parameters.authfile;
  if (given !== undefined && given !== "") return [given];
  const config = env["XDG_CONFIG_HOME"] ?? (env["HOME"] === undefined ? undefined : `${env["HOME"]}/.config`);
  return [...(config === undefined ? [] : [`${config}/libvirt/auth.conf`]), "/etc/libvirt/auth.conf"];
}

/**
 * Gets credentials for a daemon; undefined when there are none.
 * @throws LibvirtAuthenticationError when auth.conf can't be read or names credentials that it does not hold
 */
export async function resolveCredentials(
  source: CredentialSource | undefined,
  uri: ConnectUri | undefined,
  request: CredentialRequest,
): Promise<ResolvedCredentials | undefined> {
  const given = typeof source === "function" ? await source(request) : source;
  if (given !== undefined) return { username: given.username, password: Secret.of(given.password) };
  if (uri === undefined) return undefined;
  for (const path of authFileCandidates(uri, process.env)) {
    const text = await readAuthFile(path);
    if (text === undefined) continue;
    const found = credentialsFrom(text, "libvirt", request.host);
    const username = uri.user ?? found?.["username"] ?? found?.["authname"];
    const password = found?.["password"];
    return username === undefined || password === undefined ? undefined : { username, password: Secret.of(password) };
  }
  return undefined;
}

/**
 * The credentials that an auth.conf holds for a service on a host: those that `[auth-SERVICE-HOST]` names, else those of
 * `[auth-SERVICE-default]`; undefined when there are none.
 * @throws LibvirtAuthenticationError when the named ones are not there
 */
export function credentialsFrom(
  text: string,
  service: string,
  host: string,
): Readonly<Record<string, string>> | undefined {
  const groups = parseKeyFile(text);
  const auth = groups.get(`auth-${service}-${host}`) ?? groups.get(`auth-${service}-default`);
  if (auth === undefined) return undefined;
  const name = auth.get("credentials");
  const credentials = name === undefined ? undefined : groups.get(`credentials-${name}`);
  if (credentials !== undefined) return Object.fromEntries(credentials);
  throw new LibvirtAuthenticationError("auth.conf names credentials that it does not hold", { detail: name });
}

/** GLib's key files: `[group]`, `key=value`, comments. */
function parseKeyFile(text: string): Map<string, Map<string, string>> {
  const groups = new Map<string, Map<string, string>>();
  let group: Map<string, string> | undefined;
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const header = /^\[([^\]]+)\]$/.exec(line)?.[1];
    if (header !== undefined) {
      group = groups.get(header) ?? new Map<string, string>();
      groups.set(header, group);
      continue;
    }
    const equals = line.indexOf("=");
    if (equals > 0) group?.set(line.slice(0, equals).trim(), line.slice(equals + 1).trim());
  }
  return groups;
}

async function readAuthFile(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new LibvirtAuthenticationError(`auth.conf can't be read (${code ?? "unknown error"})`, {
      detail: path,
      cause,
    });
  }
}
