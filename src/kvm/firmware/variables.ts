/** The variables of a guest's UEFI firmware: a file in the guest's directory, made from the firmware's template before the guest first starts. */
import { constants } from "node:fs";
import { chmod, copyFile, lchown, rename, rm, stat } from "node:fs/promises";
import { HostIoError } from "../../host/index.js";
import type { Credentials } from "../access/credentials.js";
import type { GuestFiles } from "../state/guest-files.js";
import type { FirmwareFiles } from "./firmware-descriptor.js";

/**
 * Makes sure that the variables are there: those that the guest has, or fresh ones where it has none or they are another firmware's.
 * @throws HostIoError when the template can't be copied; then the old ones stand
 */
export async function prepareVariables(
  files: GuestFiles,
  firmware: FirmwareFiles,
  previous: FirmwareFiles | undefined,
  user?: Credentials,
): Promise<void> {
  const { uefiVariables } = files;
  const same = previous === undefined || previous.wish === firmware.wish;
  const temporary = `${uefiVariables}.tmp`;
  try {
    if (!same || !(await exists(uefiVariables))) {
      await rm(temporary, { force: true });
      await copyFile(firmware.templatePath, temporary, constants.COPYFILE_EXCL);
      await chmod(temporary, 0o600);
      await rename(temporary, uefiVariables);
    }
    if (user !== undefined) await lchown(uefiVariables, user.uid, user.gid);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new HostIoError({
      operation: "copying the variables of the firmware",
      path: firmware.templatePath,
      cause: error,
    });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
