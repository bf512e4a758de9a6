/** Pictures of a guest's display. */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { CommonOptions } from "../../core/index.js";
import { ConsoleUnavailableError } from "../../driver/index.js";
import type { Screenshot } from "../../driver/index.js";
import { HostIoError, pngOfPixmap } from "../../host/index.js";
import type { GuestCore } from "../guest-core.js";
import { videoDriver } from "../plan/graphics.js";

/**
 * A picture as PNG, made of a PPM where QEMU is built without it. Nothing of it is left on the disk.
 * @throws InvalidStateError when the guest is not in memory; ConsoleUnavailableError when its machine has no display
 */
export async function takeScreenshot(core: GuestCore, { signal, deadline }: CommonOptions): Promise<Screenshot> {
  const session = core.requireSession("screenshot");
  const { capabilities } = core.host;
  const driver = videoDriver({ machine: core.state.hardware.machine, definition: core.definition });
  if (driver === undefined || !capabilities.devices.includes(driver)) {
    throw new ConsoleUnavailableError("the guest has no display", { instance: core.instance });
  }
  const format = capabilities.screenshotFormats.includes("png") ? "png" : "ppm";
  const path = join(core.files.directory, `screenshot-${randomUUID()}`);
  try {
    await session.execute(
      "screendump",
      { filename: path, ...(format === "png" ? { format } : {}) },
      { signal, deadlineMs: deadline },
    );
    const bytes = await readFile(path, { flag: constants.O_RDONLY | constants.O_NOFOLLOW }).catch((error: unknown) => {
      throw new HostIoError({ operation: "reading a screenshot", path, cause: error });
    });
    return { mediaType: "image/png", bytes: format === "png" ? bytes : pngOfPixmap(bytes) };
  } finally {
    await rm(path, { force: true });
  }
}
