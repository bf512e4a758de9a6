import { describe, expect, it } from "vitest";
import {
  checkLinkName,
  deleteLink,
  linkExists,
  setLinkDown,
  setLinkMaster,
  setLinkUp,
} from "../../../src/host/index.js";
import type { CommandRunner } from "../../../src/host/index.js";

function recorder(): { readonly runner: CommandRunner; readonly commands: string[] } {
  const commands: string[] = [];
  const runner: CommandRunner = {
    run: async (argv) => {
      commands.push(argv.join(" "));
      return { stdout: "", stderr: "", exitCode: 0 };
    },
  };
  return { runner, commands };
}

describe("links", () => {
  it("are changed by ip", async () => {
    const { runner, commands } = recorder();
    await setLinkUp("tap0", { runner });
    await setLinkDown("tap0", { runner });
    await setLinkMaster("tap0", "br100", { runner });
    await setLinkMaster("tap0", null, { runner });
    expect(commands).toEqual([
      "ip link set dev tap0 up",
      "ip link set dev tap0 down",
      "ip link set dev tap0 master br100",
      "ip link set dev tap0 nomaster",
    ]);
  });

  it("exist or not, and what is absent is deleted already", async () => {
    const { runner, commands } = recorder();
    expect(await linkExists("lo")).toBe(true);
    expect(await linkExists("o")).toBe(false);
    expect(await linkExists("no-such-link")).toBe(false);
    await deleteLink("no-such-link", { runner });
    expect(commands).toEqual([]);
  });

  it.each(["", "a".repeat(16), "-x", "../x", "a b", "a/b", "a\n", "up;reboot", "ä", "tap%d", ".", ".."])(
    "refuse the name %j before anything runs",
    async (name) => {
      const { runner, commands } = recorder();
      expect(() => checkLinkName(name)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error);
      for (const call of [
        () => setLinkUp(name, { runner }),
        () => setLinkMaster("tap0", name, { runner }),
        () => deleteLink(name, { runner }),
        () => linkExists(name),
      ]) {
        await expect(call()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      }
      expect(commands).toEqual([]);
    },
  );
});
