/** Secrets on a simulated host. */
import type { Secret } from "../core/index.js";
import type { SecretStore } from "../storage/index.js";
import type { FakeProcess } from "./process.js";

export class FakeSecretStore implements SecretStore {
  readonly #process: FakeProcess;
  readonly #secrets: Map<string, Secret>;

  constructor(process: FakeProcess) {
    this.#process = process;
    this.#secrets = process.host.secrets;
  }

  put(id: string, value: Secret): Promise<void> {
    return this.#process.pass("secrets.put", { subject: id }, () => void this.#secrets.set(id, value));
  }

  get(id: string): Promise<Secret | undefined> {
    return this.#process.pass("secrets.get", { subject: id }, () => this.#secrets.get(id));
  }

  delete(id: string): Promise<void> {
    return this.#process.pass("secrets.delete", { subject: id }, () => void this.#secrets.delete(id));
  }
}
