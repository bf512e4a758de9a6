/** The directory of a guest whose QEMU runs as another user: that user makes its sockets there, and can't touch what is the driver's. */
import { constants } from "node:fs";
import { chmod, chown, open } from "node:fs/promises";
import { HostIoError, errnoName } from "../../host/index.js";
import type { GuestFiles } from "../state/guest-files.js";
import type { Credentials } from "./credentials.js";

/** The group may make files; of those that are there, each can be removed by its owner alone, as in /tmp. */
const SHARED = 0o1770;

/** Opens the directory to the user's group, and gives the user its console log. Repeatable. @throws HostIoError */
export async function shareGuestDirectory(files: GuestFiles, user: Credentials): Promise<void> {
  const { directory, consoleLog } = files;
  try {
    await chown(directory, process.geteuid?.() ?? 0, user.gid);
    await chmod(directory, SHARED);
  } catch (error) {
    throw new HostIoError({ operation: "opening a guest's directory to QEMU", path: directory, cause: error });
  }
  await giveLog(consoleLog, user);
}

async function giveLog(path: string, { uid, gid }: Credentials): Promise<void> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if ((await file.stat()).isFile()) await file.chown(uid, gid);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errnoName(error) === "ENOENT") return;
    throw new HostIoError({ operation: "giving QEMU its console log", path, cause: error });
  }
}
