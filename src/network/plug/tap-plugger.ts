/** VIFs on TAPs that somebody else makes and looks after: another network agent, or an administrator. */
import { InvalidArgumentError, check } from "../../core/index.js";
import { systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { VifPlugError } from "../errors.js";
import { Links } from "../links.js";
import { validateTapVif } from "../validate-vif.js";
import type { TapVif, Vif, VifBackend, VifPlugger } from "../vif.js";

export interface TapPluggerOptions {
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  /** Longest time that one `ip` may take, in milliseconds. Default 10000. */
  readonly commandTimeoutMs?: number;
  /** Whether there is a device of a name in the namespace that `commands` works in; default: in this process's own. */
  readonly deviceExists?: (name: string) => Promise<boolean>;
}

/** Plugs VIFs of type `tap`: sees to it that the TAP is there and fits, and changes nothing. */
export class TapPlugger implements VifPlugger {
  readonly #links: Links;

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: TapPluggerOptions = {}) {
    const { commands = systemCommandRunner, commandTimeoutMs = 10_000, deviceExists } = options;
    const timeoutMs = check.integer({ min: 1 })(commandTimeoutMs, "commandTimeoutMs");
    this.#links = new Links({ commands, timeoutMs, ...(deviceExists === undefined ? {} : { exists: deviceExists }) });
  }

  validate(vif: Vif, path: string): void {
    validateTapVif(tapVif(vif, path), path);
  }

  async plug(
    vif: Vif,
    instanceUuid: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<VifBackend> {
    this.validate(vif, "vif");
    const { deviceName, queues = 1, id } = tapVif(vif, "vif");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    const link = await this.#links.show(deviceName, options);
    const misfit =
      link?.tap === undefined
        ? `there is no TAP ${deviceName}`
        : link.tap.multiQueue === queues > 1
          ? undefined
          : `the TAP ${deviceName} has another number of queues`;
    if (misfit === undefined)
      return { type: "tap", deviceName, queues, ...(await this.#bridgeOf(link?.master, options)) };
    throw new VifPlugError(misfit, {
      instance: { uuid },
      device: id,
      remedy: `make it with "ip tuntap add dev ${deviceName} mode tap${queues > 1 ? " multi_queue" : ""} vnet_hdr"`,
    });
  }

  /** The TAP stays as it is. */
  async unplug(vif: Vif, instanceUuid: string): Promise<void> {
    this.validate(vif, "vif");
    check.uuid()(instanceUuid, "instanceUuid");
  }

  /** Firewalls are told of Linux bridges alone. */
  async #bridgeOf(
    master: string | undefined,
    options: { readonly signal?: AbortSignal | undefined },
  ): Promise<{ readonly bridge?: string }> {
    if (master === undefined) return {};
    const device = await this.#links.show(master, options);
    return device?.kind === "bridge" ? { bridge: master } : {};
  }
}

function tapVif(vif: Vif, path: string): TapVif {
  if (vif.type === "tap") return vif;
  throw new InvalidArgumentError({ field: `${path}.type`, value: vif.type, expected: '"tap"' });
}
