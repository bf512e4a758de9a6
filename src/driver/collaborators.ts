/** What an embedder may bring to a driver in place of the defaults. */
import type { Clock, StateStore } from "../core/index.js";
import type {
  ConfigDriveBuilder,
  DiskBackend,
  ExportedFiles,
  ImageStore,
  SecretStore,
  VolumeConnector,
  VolumeHostProperties,
} from "../storage/index.js";
import type { FirewallDriver } from "../firewall/index.js";
import type { VifPlugger } from "../network/index.js";

export interface Collaborators {
  readonly images: ImageStore;
  readonly disks: DiskBackend;
  /** Makes config drives. Absent: the driver has none. */
  readonly configDrives?: ConfigDriveBuilder;
  /** At most one connector a type. */
  readonly volumes: readonly VolumeConnector[];
  readonly vifs: VifPlugger;
  readonly firewall: FirewallDriver;
  readonly secrets: SecretStore;
  /** Where records of instances and of operations under way outlive the process. */
  readonly state: StateStore;
  readonly clock: Clock;
  /** Where backups, dumps and templates are put. Default: the host's file systems. */
  readonly files?: ExportedFiles;
  /** What this host tells volume services of itself. */
  volumeHostProperties(): Promise<VolumeHostProperties>;
}
