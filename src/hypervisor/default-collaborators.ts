/** What a driver of this host works with where its embedder brings nothing: everything in one directory, no daemon, no filters. */
import { join } from "node:path";
import { check } from "../core/index.js";
import type { Clock, StateStore } from "../core/index.js";
import type { Collaborators, HostFacts } from "../driver/index.js";
import { NoopFirewallDriver } from "../firewall/index.js";
import { LinuxBridgePlugger, UserNetworkPlugger } from "../network/index.js";
import {
  DirectoryImageStore,
  FileSecretStore,
  IscsiVolumeConnector,
  LocalConfigDriveBuilder,
  LocalDiskBackend,
  LocalVolumeConnector,
  NbdVolumeConnector,
  RbdVolumeConnector,
} from "../storage/index.js";
import type { SecretStore, VolumeConnector } from "../storage/index.js";

export interface DefaultCollaboratorsOptions {
  /** Absolute path; images, disks, volumes and secrets lie below. */
  readonly stateDirectory: string;
  /** Directories, by absolute paths, in which volumes of type `local` may lie. Default: `volumes` in the state directory. */
  readonly volumeDirectories: readonly string[] | undefined;
  /** In place of the default, for those that need secrets too. */
  readonly secrets: SecretStore | undefined;
  readonly state: StateStore;
  readonly clock: Clock;
  /** Asked when a volume is connected. */
  readonly hostFacts: () => Promise<HostFacts>;
}

/** Touches nothing. @throws InvalidArgumentError that names the bad option */
export function defaultCollaborators(options: DefaultCollaboratorsOptions): Collaborators {
  const { stateDirectory, state, clock, hostFacts } = options;
  const roots = check.array(check.absolutePath(), { max: 64 })(
    options.volumeDirectories ?? [join(stateDirectory, "volumes")],
    "options.volumeDirectories",
  );
  const secrets = options.secrets ?? new FileSecretStore({ directory: join(stateDirectory, "secrets") });
  const volumes: readonly VolumeConnector[] = [
    new LocalVolumeConnector({ roots, state }),
    new NbdVolumeConnector({ state, secrets }),
    new IscsiVolumeConnector({ state, secrets }),
    new RbdVolumeConnector({ state, secrets }),
  ];
  return {
    images: new DirectoryImageStore({ directory: join(stateDirectory, "images"), clock }),
    configDrives: new LocalConfigDriveBuilder(),
    disks: new LocalDiskBackend({ directory: join(stateDirectory, "disks") }),
    volumes,
    vifs: process.geteuid?.() === 0 ? new LinuxBridgePlugger() : new UserNetworkPlugger(),
    firewall: new NoopFirewallDriver(),
    secrets,
    state,
    clock,
    volumeHostProperties: async () => {
      const { hostname, ipAddress } = await hostFacts();
      return { hostname, ip: ipAddress, multipath: false };
    },
  };
}
