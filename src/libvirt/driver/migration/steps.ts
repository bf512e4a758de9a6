/** The five steps of a migration as this driver takes them, over a connection to each daemon: begin, prepare, perform, finish, confirm. Through a tunnel the source's daemon takes all of them. */
import type { GuestMigrationRequest } from "../../../driver/index.js";
import type { DomainMigrateFlags, LibvirtClient, TypedParameterInput } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import type { MigrationToken } from "./token.js";
import { dropWaiting } from "./whereabouts.js";

type Flag = keyof typeof DomainMigrateFlags;

export interface MigrationPlan {
  readonly token: MigrationToken;
  readonly request: GuestMigrationRequest;
  readonly wasRunning: boolean;
  /** libvirt's names of the disks that are copied: `vda`. */
  readonly targets: readonly string[];
  /** The domain that runs there, and the one that is kept. */
  readonly xml: string;
  readonly persistentXml: string;
  readonly postcopy: boolean;
  /** The guest runs on the destination already, and the link by which the rest of its memory came has broken. */
  readonly resume?: boolean;
}

/** From one step to the next; libvirt's own. */
type Cookie = Uint8Array;

const NO_COOKIE: Cookie = new Uint8Array(0);

/** What libvirt is told of a migration. Pure. */
export function migrationFlags({
  token,
  request,
  targets,
  postcopy,
  wasRunning,
  resume,
}: MigrationPlan): readonly Flag[] {
  return [
    "live",
    // Whatever it finds permanent there has been let run, or is about to be.
    "persistDest",
    // Of libvirt's own way, in which the daemons take all steps, a tunnel is a part.
    ...(token.tunnel ? (["peer2peer", "tunnelled"] as const) : []),
    // Nobody else may change the guest between two steps, and what is begun ends with the connection.
    "changeProtection",
    // Whether disks are on shared storage has been found out, by a file; libvirt guesses by the kind of file system.
    "unsafe",
    ...(wasRunning ? [] : (["paused"] as const)),
    ...(targets.length === 0 ? [] : (["nonSharedDisk"] as const)),
    ...(request.autoConverge ? (["autoConverge"] as const) : []),
    ...(postcopy ? (["postcopy"] as const) : []),
    ...(resume === true ? (["postcopyResume"] as const) : []),
    ...(token.encrypt ? (["tls"] as const) : []),
  ];
}

/** As {@link migrationFlags}; all steps may be given all. Pure. */
export function migrationParameters({ token, request, targets, postcopy }: MigrationPlan): TypedParameterInput {
  const { bandwidthMiBps = 0 } = request;
  const { dataUri, listenAddress, encrypt, certificateName } = token;
  return {
    ...(dataUri === undefined ? {} : { migrate_uri: dataUri }),
    ...(listenAddress === undefined ? {} : { listen_address: listenAddress }),
    ...(targets.length === 0 ? {} : { migrate_disks: targets }),
    ...(bandwidthMiBps === 0 ? {} : { bandwidth: bandwidthMiBps }),
    ...(bandwidthMiBps === 0 || !postcopy ? {} : { "bandwidth.postcopy": bandwidthMiBps }),
    ...(encrypt && certificateName !== undefined ? { "tls.destination": certificateName } : {}),
  };
}

export class MigrationSteps {
  readonly #core: GuestCore;
  readonly #peer: LibvirtClient;
  readonly #plan: MigrationPlan;
  readonly #flags: readonly Flag[];
  readonly #parameters: TypedParameterInput;
  #begun = false;
  #prepared = false;
  #performing = false;
  #cookie: Cookie = NO_COOKIE;
  #dataUri: string | undefined;

  constructor(core: GuestCore, peer: LibvirtClient, plan: MigrationPlan) {
    this.#core = core;
    this.#peer = peer;
    this.#plan = plan;
    this.#flags = migrationFlags(plan);
    this.#parameters = migrationParameters(plan);
  }

  /** Source: from here on nobody else changes the guest. Destination: it waits, under the domain that it will have. */
  async beginAndPrepare(): Promise<void> {
    const { domain, host } = this.#core;
    const { xml, persistentXml } = this.#plan;
    const { callMs, startMs } = host.timeouts;
    const flags = this.#flags;
    this.#begun = true;
    const begun = await domain.migrateBegin3Params(
      { ...this.#parameters, destination_xml: xml, persistent_xml: persistentXml },
      { flags, deadlineMs: callMs },
    );
    this.#prepared = true;
    const { cookieOut, uriOut } = await this.#peer.domainMigratePrepare3Params(
      { ...this.#parameters, destination_xml: begun.xml },
      begun.cookieOut,
      { flags, deadlineMs: startMs },
    );
    this.#cookie = cookieOut;
    this.#dataUri = uriOut === undefined || uriOut === "" ? this.#plan.token.dataUri : uriOut;
  }

  /** Source: copies disks and memory. Resolves when the guest stands still here and the destination has it all, or the rest follows by post-copy; through a tunnel, when it runs there. */
  async perform(deadlineMs: number): Promise<void> {
    const { xml, persistentXml, token } = this.#plan;
    this.#performing = true;
    try {
      this.#cookie = await this.#core.domain.migratePerform3Params(
        {
          ...this.#parameters,
          ...(token.tunnel ? { destination_xml: xml } : {}),
          persistent_xml: persistentXml,
          ...(this.#dataUri === undefined ? {} : { migrate_uri: this.#dataUri }),
        },
        this.#cookie,
        { flags: this.#flags, deadlineMs, ...(token.tunnel ? { dconnuri: token.connectionUri } : {}) },
      );
    } finally {
      this.#performing = false;
    }
  }

  /** Destination: lets the guest run. From when this is called nobody but the destination knows whose it is. */
  async finish(deadlineMs: number): Promise<void> {
    if (this.#plan.token.tunnel) return;
    const { name } = this.#core.definition;
    const { cookieOut } = await this.#peer.domainMigrateFinish3Params({ destination_name: name }, this.#cookie, 0, {
      flags: this.#flags,
      deadlineMs,
    });
    this.#cookie = cookieOut;
  }

  /** Source: lets go of the guest. */
  async confirm(): Promise<void> {
    if (this.#plan.token.tunnel) return;
    const { domain, host } = this.#core;
    await domain.migrateConfirm3Params({}, this.#cookie, 0, {
      flags: this.#flags,
      deadlineMs: host.timeouts.migrationMs,
    });
  }

  /** Both: gives up what was begun. A daemon that can't be told undoes its part when the connection has gone. */
  async cancel(): Promise<void> {
    const { domain, host, definition } = this.#core;
    const limits = { deadlineMs: host.timeouts.cancelMs };
    // One that runs there waits for the rest of its memory for as long as it takes.
    if (this.#prepared && this.#plan.resume !== true) await dropWaiting(this.#peer, definition.name, limits);
    if (!this.#begun || this.#performing) return;
    await domain.migrateConfirm3Params({}, NO_COOKIE, 1, { flags: this.#flags, ...limits }).catch(() => undefined);
  }
}
