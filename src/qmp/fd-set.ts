/** File descriptors that QEMU opens again by name: `/dev/fdset/N`, for disks and sockets that QEMU itself may not open. */
import type { QmpClient } from "./client.js";
import type { QmpWaitOptions } from "./client-options.js";
import { isQmpCommandError } from "./errors.js";

export interface QmpFdSetOptions extends QmpWaitOptions {
  /** Told back by `query-fdsets`: to find the set again after a restart of this process. */
  readonly label?: string | undefined;
}

/**
 * A set of descriptors inside QEMU. QEMU picks from it the descriptor whose access mode (reading, writing, both) suits the
 * open at hand, so a disk that is reopened needs one for each mode. A set that is not in use goes when the last monitor of a
 * running QEMU disconnects.
 */
export class QmpFdSet {
  readonly id: number;
  readonly #client: QmpClient;
  readonly #label: string | undefined;

  private constructor(client: QmpClient, id: number, label: string | undefined) {
    this.#client = client;
    this.id = id;
    this.#label = label;
  }

  /**
   * Makes a set with one descriptor, which stays open here and may be closed after.
   * @throws NotSupportedError when the connection can't carry descriptors; what `QmpClient.execute` throws
   */
  static async create(client: QmpClient, fd: number, options: QmpFdSetOptions = {}): Promise<QmpFdSet> {
    const { label, ...wait } = options;
    const added = await client.executeWithFds("add-fd", { opaque: label }, [fd], wait);
    return new QmpFdSet(client, Number(added["fdset-id"]), label);
  }

  /** Finds the sets with a label, as another client may have left them. */
  static async find(client: QmpClient, label: string, options: QmpWaitOptions = {}): Promise<readonly QmpFdSet[]> {
    const sets = await client.execute("query-fdsets", {}, options);
    const labelled = sets.filter(({ fds }) => fds.some(({ opaque }) => opaque === label));
    return labelled.map((set) => new QmpFdSet(client, Number(set["fdset-id"]), label));
  }

  /** What to give QEMU as a file name. */
  get path(): string {
    return `/dev/fdset/${this.id}`;
  }

  /** Adds one more descriptor. */
  async add(fd: number, options: QmpWaitOptions = {}): Promise<void> {
    await this.#client.executeWithFds("add-fd", { "fdset-id": this.id, opaque: this.#label }, [fd], options);
  }

  /** Takes the descriptors out; what QEMU has opened from the set stays open. That it has gone already is no error. */
  async remove(options: QmpWaitOptions = {}): Promise<void> {
    try {
      await this.#client.execute("remove-fd", { "fdset-id": this.id }, options);
    } catch (error) {
      const sets = isQmpCommandError(error) ? await this.#client.execute("query-fdsets", {}, options) : undefined;
      if (sets === undefined || sets.some((set) => Number(set["fdset-id"]) === this.id)) throw error;
    }
  }
}
