/** Tells a daemon who calls, in the way that it asks for. */
import { throwIfAborted } from "../../../core/index.js";
import type { ConnectUri } from "../connect-uri.js";
import { LibvirtAuthenticationError, LibvirtError } from "../errors.js";
import type { HandshakeCall } from "../direct-calls.js";
import { resolveCredentials } from "./credentials.js";
import type { CredentialSource } from "./credentials.js";
import { authenticateSasl } from "./sasl.js";

export interface AuthenticateOptions {
  readonly uri: ConnectUri;
  readonly credentials: CredentialSource | undefined;
  /** Whether nobody on the way can read what is sent. */
  readonly confidential: boolean;
  readonly signal: AbortSignal;
}

const AUTH_NONE = 0;
const AUTH_SASL = 1;
const AUTH_POLKIT = 2;

/**
 * Asks the daemon what it wants and gives it. The question alone lets root in where others need polkit, so it is never left out.
 * @throws LibvirtAuthenticationError, and what the calls throw
 */
export async function authenticate(call: HandshakeCall, options: AuthenticateOptions): Promise<void> {
  const { types } = await call("authList", {});
  const wish = options.uri.parameters.auth;
  const type = chooseType(types, wish);
  if (type === AUTH_NONE) return;
  if (type === AUTH_POLKIT) return authenticatePolkit(call);
  await authenticateBySasl(
    call,
    options,
    wish?.toLowerCase().startsWith("sasl.") === true ? wish.slice("sasl.".length) : undefined,
  );
}

/** The URI's `auth` decides; without it the daemon's first choice that is known here. */
function chooseType(types: readonly number[], wish: string | undefined): number {
  const known = types.filter((type) => type === AUTH_NONE || type === AUTH_SASL || type === AUTH_POLKIT);
  const wanted =
    wish === undefined ? undefined : /^sasl(\.|$)/i.test(wish) ? AUTH_SASL : wish === "polkit" ? AUTH_POLKIT : -1;
  const chosen = wanted === undefined ? known[0] : known.find((type) => type === wanted);
  if (chosen !== undefined) return chosen;
  throw new LibvirtAuthenticationError("the daemon offers no way of authentication that is wanted and known", {
    detail: `offered: ${types.join(", ") || "none"}; wanted: ${wish ?? "any of none, sasl, polkit"}`,
  });
}

async function authenticatePolkit(call: HandshakeCall): Promise<void> {
  try {
    await call("authPolkit", {});
  } catch (cause) {
    if (!(cause instanceof LibvirtError)) throw cause;
    throw new LibvirtAuthenticationError("polkit did not allow the connection", {
      cause,
      detail: cause.detail,
      remedy:
        "add the user to the group libvirt, write a polkit rule for org.libvirt.unix.manage, run an agent in the user's session, or connect for reading only",
    });
  }
}

async function authenticateBySasl(
  call: HandshakeCall,
  { uri, credentials, confidential, signal }: AuthenticateOptions,
  wanted: string | undefined,
): Promise<void> {
  const { mechlist } = await call("authSaslInit", {});
  const mechanisms = mechlist.split(/[\s,]+/).filter((name) => name !== "");
  const host = uri.host ?? "localhost";
  const resolved = await resolveCredentials(credentials, uri, { mechanisms, host, signal });
  throwIfAborted(signal, "authenticating");
  if (resolved === undefined) {
    throw new LibvirtAuthenticationError("the daemon asks for a user and a password, and none are given", {
      remedy: "give credentials, or put them into libvirt's auth.conf",
    });
  }
  await authenticateSasl(call, { mechanisms, wanted, credentials: resolved, confidential });
}
