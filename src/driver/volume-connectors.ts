/** Finds the connector that serves a volume. */
import { NotSupportedError } from "../core/index.js";
import type { Collaborators } from "./collaborators.js";
import type { VolumeConnection, VolumeConnector } from "../storage/index.js";

/** @throws NotSupportedError when no connector serves the connection's type. */
export function connectorOf(
  host: { readonly collaborators: Pick<Collaborators, "volumes"> },
  connection: VolumeConnection,
): VolumeConnector {
  const connector = host.collaborators.volumes.find(({ type }) => type === connection.type);
  if (connector !== undefined) return connector;
  throw new NotSupportedError({ capability: `volumes of type ${connection.type}` });
}
