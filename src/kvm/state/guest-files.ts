/** Where the files of a state directory are. */
import { join } from "node:path";
import { GUEST_FILES } from "../plan/command-line.js";

/** The files of one guest, by whole paths. */
export type GuestFiles = { readonly [F in keyof typeof GUEST_FILES]: string } & { readonly directory: string };

/** What stands in a state directory of this hypervisor. */
export interface StateLayout {
  readonly root: string;
  readonly cache: string;
  readonly guests: string;
  /** Which files were given to the user that QEMU runs as. */
  readonly access: string;
}

export function layoutOf(stateDirectory: string): StateLayout {
  return {
    root: stateDirectory,
    cache: join(stateDirectory, "cache"),
    guests: join(stateDirectory, "guests"),
    access: join(stateDirectory, "access"),
  };
}

export function guestFiles(layout: StateLayout, uuid: string): GuestFiles {
  const directory = join(layout.guests, uuid);
  const entries = Object.entries(GUEST_FILES).map(([key, name]) => [key, join(directory, name)]);
  return { directory, ...(Object.fromEntries(entries) as { [F in keyof typeof GUEST_FILES]: string }) };
}
