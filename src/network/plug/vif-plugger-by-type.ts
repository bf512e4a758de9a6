/** A host that plugs VIFs of several types, each by its own plugger. */
import { NotSupportedError } from "../../core/index.js";
import type { Vif, VifBackend, VifPlugger, VifType } from "../vif.js";

export type VifPluggers = { readonly [T in VifType]?: VifPlugger };

/** Hands each VIF to the plugger of its type; a type without one is refused with `NotSupportedError`. */
export class VifPluggerByType implements VifPlugger {
  readonly waitUntilActive?: NonNullable<VifPlugger["waitUntilActive"]>;
  readonly #pluggers: VifPluggers;

  constructor(pluggers: VifPluggers) {
    this.#pluggers = { ...pluggers };
    if (Object.values(pluggers).some((plugger) => plugger.waitUntilActive !== undefined))
      this.waitUntilActive = async (vif, ...rest) => this.#of(vif, "vif").waitUntilActive?.(vif, ...rest);
  }

  validate(vif: Vif, path: string): void {
    this.#of(vif, path).validate(vif, path);
  }

  async plug(
    vif: Vif,
    instanceUuid: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<VifBackend> {
    return this.#of(vif, "vif").plug(vif, instanceUuid, options);
  }

  async unplug(vif: Vif, instanceUuid: string): Promise<void> {
    await this.#of(vif, "vif").unplug(vif, instanceUuid);
  }

  #of(vif: Vif, path: string): VifPlugger {
    const type: unknown = (vif as { readonly type?: unknown }).type;
    const plugger = Object.entries(this.#pluggers).find(([known]) => known === type)?.[1];
    if (plugger !== undefined) return plugger;
    const known = Object.keys(this.#pluggers).join(", ");
    throw new NotSupportedError({
      capability: `vif.${String(type)}`,
      message: `${path}.type: this host plugs VIFs of type ${known || "none"}`,
    });
  }
}
