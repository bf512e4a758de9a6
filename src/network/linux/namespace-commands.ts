/** Commands that work in another network namespace than this process's. */
import { check } from "../../core/index.js";
import type { CommandOptions, CommandResult, CommandRunner } from "../../host/index.js";

const checkName = check.string({ max: 255, charset: "name" });

/**
 * A runner whose commands run in a namespace that `ip netns` knows by name; without a name, the runner itself.
 * @throws InvalidArgumentError for a name that is no plain one.
 */
export function inNetworkNamespace(commands: CommandRunner, netns: string | undefined): CommandRunner {
  if (netns === undefined) return commands;
  const name = checkName(netns, "netns");
  return {
    run(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
      // `ip -n` changes the namespace of the one command; `ip netns exec` also mounts a /sys of its own, which takes longer.
      const [program, ...words] = argv;
      const inside = program === "ip" ? ["ip", "-n", name, ...words] : ["ip", "netns", "exec", name, ...argv];
      return commands.run(inside, options);
    },
  };
}
