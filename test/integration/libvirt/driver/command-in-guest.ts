import type { LibvirtClient } from "../../../../src/libvirt/index.js";
import { waitFor } from "../../../lab/index.js";

/** Runs a command in a guest by its agent, and gives what it prints. */
export async function commandInGuest(client: LibvirtClient, uuid: string, command: string): Promise<string> {
  const domain = await client.lookupDomainByUuid(uuid);
  const ask = async (execute: string, args: object): Promise<Record<string, unknown>> => {
    const answer = await domain.qemuAgentCommand(JSON.stringify({ execute, arguments: args }), 20);
    return (JSON.parse(answer ?? "{}") as { return: Record<string, unknown> }).return;
  };
  const { pid } = await ask("guest-exec", { path: "/bin/sh", arg: ["-c", command], "capture-output": true });
  const done = await waitFor(
    async () => {
      const status = await ask("guest-exec-status", { pid });
      return status["exited"] === true ? status : undefined;
    },
    { timeoutMs: 60_000, what: "a command's end in the guest" },
  );
  return Buffer.from(String(done["out-data"] ?? ""), "base64")
    .toString()
    .trim();
}
