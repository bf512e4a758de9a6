/** Whether a daemon refused a procedure because it is older than it, which libvirt tells only in its own language. */
import { LibvirtError } from "./errors.js";
import { ErrorDomain, ErrorNumber } from "./protocol/error-codes.gen.js";
import type { Procedure } from "./procedure.js";

/** No daemon will ever have it. */
const NOBODYS_NUMBER = 0x7fff_fff0;

/**
 * A refusal with this code and domain may also be about arguments or results that do not fit. Only the daemon's words tell them
 * apart, in whatever language: they are compared with what it says to a procedure that can't exist.
 */
export async function isUnknownProcedure(
  procedure: Procedure,
  error: LibvirtError,
  call: (procedure: Procedure) => Promise<unknown>,
): Promise<boolean> {
  if (!mayBeUnknown(error)) return false;
  const probe: Procedure = {
    ...procedure,
    number: NOBODYS_NUMBER,
    name: "a procedure that can't exist",
    priority: "high",
  };
  const said = await call(probe).catch((refusal: unknown) => refusal);
  if (!(said instanceof LibvirtError) || !mayBeUnknown(said)) return false;
  return wordsOf(said).replaceAll(String(NOBODYS_NUMBER), String(procedure.number)) === wordsOf(error);
}

/** The same refusal, saying what it is. */
export function asUnknownProcedure(error: LibvirtError): LibvirtError {
  const { libvirtCode: code, domain, level, str1, str2, str3, int1, int2, procedure } = error;
  const remote = { code, domain, level, str1, str2, str3, int1, int2, message: error.detail };
  return new LibvirtError(remote, { procedure, unknownProcedure: true });
}

function mayBeUnknown({ libvirtCode, domain }: LibvirtError): boolean {
  return libvirtCode === ErrorNumber.rpc && (domain === ErrorDomain.rpc || domain === ErrorDomain.remote);
}

function wordsOf({ detail, str1, str2 }: LibvirtError): string {
  return JSON.stringify([detail, str1, str2]);
}
