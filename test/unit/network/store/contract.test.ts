import { afterAll, beforeAll, describe, it } from "vitest";
import { FileNetworkStore, MemoryNetworkStore } from "../../../../src/network/index.js";
import { defineNetworkStoreContract } from "../../../../src/testing/network/index.js";
import { temporaryDirectory } from "../../../lab/temporary-directory.js";

const runner = { describe, it, beforeAll, afterAll };

defineNetworkStoreContract(
  { name: "memory", create: async () => ({ store: new MemoryNetworkStore(), remove: async () => undefined }) },
  runner,
);

for (const maxLogBytes of [undefined, 4_096]) {
  defineNetworkStoreContract(
    {
      name: maxLogBytes === undefined ? "file" : "file, with a new file at every turn",
      create: async () => {
        const directory = await temporaryDirectory();
        const open = (): FileNetworkStore => new FileNetworkStore({ dir: directory.file("networks"), maxLogBytes });
        return { store: open(), again: async () => open(), remove: () => directory.remove() };
      },
    },
    runner,
  );
}
