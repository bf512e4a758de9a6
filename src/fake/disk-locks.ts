/** Which guest writes to a disk: as with QEMU's image locks, no two guests in memory may, unless the disk is shareable. */

export class DiskLocks {
  readonly #holders = new Map<string, string>();

  /** Who holds the disk. */
  holder(path: string): string | undefined {
    return this.#holders.get(path);
  }

  take(path: string, holder: string): void {
    this.#holders.set(path, holder);
  }

  release(path: string, holder: string): void {
    if (this.#holders.get(path) === holder) this.#holders.delete(path);
  }

  clear(): void {
    this.#holders.clear();
  }
}
