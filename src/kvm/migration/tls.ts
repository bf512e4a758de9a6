/** Certificates that QEMU shows and wants to see when a guest moves. */
import type { GuestSession } from "../session.js";
import type { MigrationTls } from "./options.js";

/** QEMU's id of the object. */
export const TLS_CREDENTIALS = "migration-tls";

/** Has QEMU load certificates. @throws QmpCommandError when it can't */
export async function addCredentials(
  session: GuestSession,
  { directory }: MigrationTls,
  endpoint: "client" | "server",
  signal?: AbortSignal,
): Promise<void> {
  await removeCredentials(session);
  const object = {
    "qom-type": "tls-creds-x509",
    id: TLS_CREDENTIALS,
    dir: directory,
    endpoint,
    "verify-peer": true,
  } as const;
  await session.execute("object-add", object, { signal });
}

/** Success when there are none. */
export async function removeCredentials(session: GuestSession): Promise<void> {
  const present = await session.execute("qom-list", { path: "/objects" });
  if (!present.some(({ name }) => name === TLS_CREDENTIALS)) return;
  await session.execute("object-del", { id: TLS_CREDENTIALS });
}
