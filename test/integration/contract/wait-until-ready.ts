// When a contract suite's Linux guest counts as booted.
import type { ComputeDriver, InstanceRef } from "../../../src/driver/index.js";
import { withAllFacets } from "../../../src/driver/index.js";
import { waitFor } from "../../lab/index.js";

/** Resolves when the guest has said that it is ready, and its agent answers. */
export async function waitUntilReady(driver: ComputeDriver, instance: InstanceRef): Promise<void> {
  const ready = async (): Promise<boolean> => {
    const { bytes } = await withAllFacets(driver).getConsoleOutput(instance);
    return Buffer.from(bytes).includes("HV-READY");
  };
  await waitFor(ready, { timeoutMs: 120_000, what: "a booted guest" });
  const { state } = await driver.getInfo(instance);
  if (state === "running")
    await waitFor(
      () =>
        withAllFacets(driver)
          .getGuestInterfaces(instance)
          .then(
            () => true,
            () => false,
          ),
      { timeoutMs: 60_000, what: "an answer of the guest agent" },
    );
}
