/** Files that an embedder names by path and that outlive their instance: backups, dumps of memory, templates. */

/** All paths are absolute. Rejects with `DiskFullError` or `StorageError` when the host's storage fails. */
export interface ExportedFiles {
  /** Tells the file or directory at the path from every other as long as it is there, whatever it is called; undefined when there is none. */
  identify(path: string): Promise<string | undefined>;

  /** Makes a directory in one that is there. Rejects with `ConflictError` when something has the path. */
  makeDirectory(path: string): Promise<void>;

  /** Gives a file or a directory its final name in the same directory, durably. Rejects with `ConflictError` when something has that name, and nothing is changed. */
  publish(from: string, to: string): Promise<void>;

  /** Removes a file, or a directory with all that is in it; with `identity`, only that one. Success when there is none. */
  remove(path: string, identity?: string): Promise<void>;

  /** A small text file; undefined when there is none. Rejects with `OverflowError` above 1 MiB. */
  readText(path: string): Promise<string | undefined>;

  /** Writes a text file, durably and in one step: either the old or the new one is there. */
  writeText(path: string, text: string): Promise<void>;

  /** The names in a directory; none when there is none. */
  list(path: string): Promise<readonly string[]>;
}
