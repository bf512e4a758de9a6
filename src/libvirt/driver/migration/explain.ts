/** Why a migration has failed, to whoever asked for it. */
import { isHyperviseError } from "../../../core/index.js";
import { MigrationError } from "../../../driver/index.js";
import { LibvirtConnectError, LibvirtDisconnectedError, LibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";

/** The error of a migration that has failed while its guest stayed; errors that already say all are given back. */
export function explained({ instance }: Pick<GuestCore, "instance">, error: Error): Error {
  if (isHyperviseError(error, "MIGRATION_FAILED")) return error.withContext({ instance });
  const ofLibvirt =
    error instanceof LibvirtError || error instanceof LibvirtDisconnectedError || error instanceof LibvirtConnectError;
  if (!ofLibvirt && isHyperviseError(error)) return error;
  const { detail = error.message } = error as { readonly detail?: string };
  return new MigrationError("the migration failed; the guest is here as before", { instance, cause: error, detail });
}
