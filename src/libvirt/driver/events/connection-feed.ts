/** Tells of the connection to the daemon: lost, and made again. */
import type { HypervisorEvent } from "../../../driver/index.js";
import type { LibvirtConnection } from "../../rpc/index.js";

/** @returns what ends the following */
export function followConnection(
  connection: LibvirtConnection,
  emit: (event: HypervisorEvent) => void,
): () => Promise<void> {
  const events = connection.connectionEvents();
  let closing = false;
  const follow = async (): Promise<void> => {
    let lost = false;
    for await (const event of events) {
      if (event.kind === "reconnected") emit({ type: "connection", state: "connected" });
      else if ((event.kind === "lost" || event.kind === "closed") && !lost && !closing)
        emit({ type: "connection", state: "lost", reason: event.closure.reason });
      lost = event.kind === "lost" || (lost && event.kind !== "reconnected");
    }
  };
  const following = follow();
  return async () => {
    closing = true;
    await events.return();
    await following;
  };
}
