/** What outlives the process of a firewall: which instances have filters, and how far they have come. */
import { check, InvalidArgumentError, StateCorruptError } from "../../core/index.js";
import type { JsonValue, StateStore } from "../../core/index.js";
import type { FilteredInstance } from "../firewall-driver.js";
import { FILTER_PHASES } from "./port-policy.js";
import type { FilterPhase, InstancePolicy } from "./port-policy.js";
import { checkFilteredInstance } from "./validate-security-group.js";

export interface FilterRecord {
  readonly instance: FilteredInstance;
  readonly phase: FilterPhase;
}

const PREFIX = "firewall/";

const recordCheck = check.object({
  version: check.oneOf([1]),
  phase: check.oneOf(FILTER_PHASES),
  instance: checkFilteredInstance,
});

export class FilterRecords {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  async list(): Promise<readonly FilterRecord[]> {
    const keys = await this.#store.list(PREFIX);
    const values = await Promise.all(keys.map(async (key) => ({ key, value: await this.#store.get(key) })));
    return values.flatMap(({ key, value }) => (value === undefined ? [] : [parse(key, value)]));
  }

  /** Keeps what an instance is to have; `undefined`: nothing. */
  async set(uuid: string, policy: InstancePolicy | undefined): Promise<void> {
    if (policy === undefined) return this.#store.delete(`${PREFIX}${uuid}`);
    const { phase, given } = policy;
    await this.#store.put(`${PREFIX}${uuid}`, { version: 1, phase, instance: given } as unknown as JsonValue);
  }
}

function parse(key: string, value: JsonValue): FilterRecord {
  try {
    const { phase, instance } = recordCheck(value, "record");
    return { phase, instance };
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new StateCorruptError("the record of an instance's filters can't be read", { detail: key, cause: error });
  }
}
