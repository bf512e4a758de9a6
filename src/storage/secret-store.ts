/** Where secret values (volume passphrases, passwords) are kept; everything else holds only their ids. */
import type { ErrorContext, Secret } from "../core/index.js";
import { SecretNotFoundError } from "./errors.js";

export interface SecretStore {
  /** Stores a value under an id, replacing what was there. */
  put(id: string, value: Secret): Promise<void>;
  /** Resolves to `undefined` when there is none. */
  get(id: string): Promise<Secret | undefined>;
  /** Success when there is none. */
  delete(id: string): Promise<void>;
}

/** Keeps secrets in this process only. */
export class MemorySecretStore implements SecretStore {
  readonly #values = new Map<string, Secret>();

  put(id: string, value: Secret): Promise<void> {
    this.#values.set(id, value);
    return Promise.resolve();
  }

  get(id: string): Promise<Secret | undefined> {
    return Promise.resolve(this.#values.get(id));
  }

  delete(id: string): Promise<void> {
    this.#values.delete(id);
    return Promise.resolve();
  }
}

/** @throws SecretNotFoundError */
export async function requireSecret(store: SecretStore, id: string, context: ErrorContext = {}): Promise<Secret> {
  const secret = await store.get(id);
  if (secret !== undefined) return secret;
  throw new SecretNotFoundError(`there is no secret ${id}`, {
    remedy: "put it into the secret store of this host",
    ...context,
  });
}
