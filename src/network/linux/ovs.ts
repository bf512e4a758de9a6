/** Ports of Open vSwitch, through `ovs-vsctl`: each change is one transaction. */
import { check } from "../../core/index.js";
import { checkLinkName } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";

export interface OvsOptions {
  readonly commands: CommandRunner;
  /** The database's socket, such as `unix:/run/openvswitch/db.sock`; default: the system's. */
  readonly database?: string;
  /** Default 30000. */
  readonly commandTimeoutMs?: number;
}

export interface OvsPort {
  readonly bridge: string;
  readonly name: string;
  /** `internal`: Open vSwitch makes the device; absent: it exists. */
  readonly type?: "internal";
  readonly vlan?: number;
  readonly mtu?: number;
  /** `iface-id`, `attached-mac`, `vm-uuid`, …: letters, digits and `. _ : -` alone. */
  readonly externalIds: Readonly<Record<string, string>>;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

const checkDatabase = check.string({
  max: 255,
  pattern: /^(?:unix:\/|tcp:|ssl:)[A-Za-z0-9._:/[\]@-]+$/,
  expected: "a database such as unix:/run/openvswitch/db.sock",
});
const checkKey = check.string({ max: 64, charset: "name" });
const checkValue = check.string({ max: 128, pattern: /^[A-Za-z0-9._:-]+$/, expected: "letters, digits and . _ : -" });
const checkVlan = check.integer({ min: 1, max: 4094 });
const checkMtu = check.integer({ min: 68, max: 65_535 });

/** Failures are those of the command runner. */
export class Ovs {
  readonly #options: OvsOptions;

  /** @throws InvalidArgumentError for a database that is none. */
  constructor(options: OvsOptions) {
    if (options.database !== undefined) checkDatabase(options.database, "database");
    this.#options = options;
  }

  /** One that is there is changed to this. */
  async addPort(port: OvsPort, options: CallOptions = {}): Promise<void> {
    await this.#run(addPortWords(port), options);
  }

  /** Success when it is not there. */
  async removePort(bridge: string, name: string): Promise<void> {
    await this.#run(removePortWords(bridge, name), {});
  }

  async #run(words: readonly string[], { signal }: CallOptions): Promise<void> {
    const { commands, database, commandTimeoutMs = 30_000 } = this.#options;
    const where = database === undefined ? [] : [`--db=${database}`];
    const seconds = Math.max(1, Math.ceil(commandTimeoutMs / 1000));
    const argv = ["ovs-vsctl", ...where, `--timeout=${seconds}`, ...words];
    await commands.run(argv, { timeoutMs: commandTimeoutMs + 5_000, signal });
  }
}

/** Pure. @throws InvalidArgumentError */
export function addPortWords({ bridge, name, type, vlan, mtu, externalIds }: OvsPort): readonly string[] {
  checkLinkName(bridge, "bridge");
  checkLinkName(name);
  const ids = Object.entries(externalIds).map(
    ([key, value]) => `external_ids:${checkKey(key, "externalIds key")}="${checkValue(value, `externalIds.${key}`)}"`,
  );
  const settings = [
    ...(type === undefined ? [] : [`type=${type}`]),
    ...(mtu === undefined ? [] : [`mtu_request=${checkMtu(mtu, "mtu")}`]),
    ...ids,
  ];
  const tag =
    vlan === undefined ? ["clear", "Port", name, "tag"] : ["set", "Port", name, `tag=${checkVlan(vlan, "vlan")}`];
  return [
    ...["--", "--may-exist", "add-port", bridge, name],
    ...["--", ...tag],
    ...(settings.length === 0 ? [] : ["--", "set", "Interface", name, ...settings]),
  ];
}

/** Pure. @throws InvalidArgumentError */
export function removePortWords(bridge: string, name: string): readonly string[] {
  checkLinkName(bridge, "bridge");
  checkLinkName(name);
  return ["--", "--if-exists", "del-port", bridge, name];
}
