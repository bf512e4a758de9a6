/** Who may do what with a file, by its owner, group and mode, and what has to change for a user to get in. Pure. */
import type { Credentials } from "./credentials.js";

export type AccessMode = "read" | "write";

export interface FileOwnership {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits alone. */
  readonly mode: number;
}

const READ = 0o4;
const WRITE = 0o2;
const OWNER = 6;
const GROUP = 3;

/** Whether the user, who is in no other group, gets in. */
export function mayAccess({ uid, gid, mode }: FileOwnership, user: Credentials, access: AccessMode): boolean {
  const wanted = access === "write" ? READ | WRITE : READ;
  const granted = uid === user.uid ? mode >> OWNER : gid === user.gid ? mode >> GROUP : mode;
  return (granted & wanted) === wanted;
}

/**
 * The file as the user needs it: for writing it becomes the user's, for reading it keeps its owner. A group that can read it keeps that, so
 * that nobody who uses the file is shut out.
 */
export function withAccess(original: FileOwnership, user: Credentials, access: AccessMode): FileOwnership {
  const { uid, gid, mode } = original;
  if (mayAccess(original, user, access)) return original;
  if (access === "write") return { uid: user.uid, gid: user.gid, mode: mode | ((READ | WRITE) << OWNER) };
  if (uid === user.uid) return { uid, gid, mode: mode | (READ << OWNER) };
  if (gid === user.gid || ((mode >> GROUP) & READ) === 0) return { uid, gid: user.gid, mode: mode | (READ << GROUP) };
  return { uid, gid, mode: mode | READ };
}

export function sameOwnership(one: FileOwnership, other: FileOwnership): boolean {
  return one.uid === other.uid && one.gid === other.gid && one.mode === other.mode;
}
