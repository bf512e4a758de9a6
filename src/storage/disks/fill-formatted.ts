/** Makes the file of a new disk that holds a file system or a swap area. */
import { open, rm } from "node:fs/promises";
import { InvalidArgumentError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import type { TransferOptions } from "../images/image-store.js";
import type { FormattedFile, QemuImg } from "../qemu-img.js";
import type { CreateDiskRequest } from "./disk-backend.js";
import { checkGuestFormat, formatDisk } from "./format-disk.js";
import type { GuestFormat } from "./format-disk.js";

/** Where a disk is formatted before it becomes of another format than raw. */
export function scratchOf(path: string): string {
  return `${path}.formatting`;
}

/** What is left on failure, at the path and its scratch, is the caller's to remove. */
export async function fillFormatted(
  file: FormattedFile,
  sizeBytes: number,
  format: GuestFormat,
  tools: { readonly qemuImg: QemuImg; readonly commands: CommandRunner },
  options: TransferOptions,
): Promise<void> {
  const scratch = file.format === "raw" ? file.path : scratchOf(file.path);
  await rm(scratch, { force: true });
  const made = await open(scratch, "wx", 0o600);
  await made.truncate(sizeBytes).finally(() => made.close());
  await formatDisk(scratch, sizeBytes, format, tools.commands, options);
  if (file.format === "raw") return;
  await tools.qemuImg.convert({ path: scratch, format: "raw" }, file, sizeBytes, options);
  await rm(scratch);
}

/** @throws InvalidArgumentError */
export function guestFormatOf({ guestFormat, image }: CreateDiskRequest): GuestFormat | undefined {
  if (guestFormat === undefined) return undefined;
  if (image === undefined) return checkGuestFormat(guestFormat, "guestFormat");
  throw new InvalidArgumentError({
    field: "guestFormat",
    value: guestFormat.type,
    expected: "none where there is an image",
  });
}
