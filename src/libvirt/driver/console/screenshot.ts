/** Pictures of a guest's display. */
import { OverflowError } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { ConsoleUnavailableError } from "../../../driver/index.js";
import type { Screenshot } from "../../../driver/index.js";
import { pngOfPixmap } from "../../../host/index.js";
import type { LibvirtStream } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { inMemoryCall } from "../in-memory-call.js";

const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47]);
/** More than a display of 8192 × 8192 has. */
const MAX_BYTES = 268_435_456;

/**
 * A picture as PNG, made of a PPM where libvirt gives that. `virDomainScreenshot`.
 * @throws InvalidStateError when the guest is not in memory; ConsoleUnavailableError when its machine has no display; OverflowError
 */
export async function takeScreenshot(core: GuestCore, options: CommonOptions): Promise<Screenshot> {
  const { definition, domain, host, instance } = core;
  core.requireInMemory("screenshot");
  if (definition.hardware?.video?.model === "none")
    throw new ConsoleUnavailableError("the guest has no display", { instance });
  const bytes = await inMemoryCall(core, "screenshot", async () =>
    readAll(await domain.screenshot(0, core.limits(options, host.timeouts.consoleMs))),
  );
  return { mediaType: "image/png", bytes: bytes.subarray(0, PNG.length).equals(PNG) ? bytes : pngOfPixmap(bytes) };
}

async function readAll(stream: LibvirtStream): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of stream) {
    parts.push(part as Buffer);
    length += (part as Buffer).length;
    if (length > MAX_BYTES) throw new OverflowError(`the picture is longer than ${MAX_BYTES} bytes`);
  }
  return Buffer.concat(parts, length);
}
