/** Ends flows that go by an address which leads elsewhere now, through `conntrack` of conntrack-tools. */
import type { CommandRunner } from "../../host/index.js";
import { CommandError } from "../../host/index.js";

/** Flows to a floating address, and those of its guest that were seen as it. */
export async function cutFlows(commands: CommandRunner, address: string, timeoutMs: number): Promise<void> {
  const family = address.includes(":") ? "ipv6" : "ipv4";
  for (const side of ["--orig-dst", "--reply-dst"]) {
    try {
      await commands.run(["conntrack", "-D", "-f", family, side, address], { timeoutMs });
    } catch (error) {
      // So it ends too when there was no such flow.
      if (!(error instanceof CommandError) || error.exitCode !== 1) throw error;
    }
  }
}
