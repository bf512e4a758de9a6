/** Volumes: block storage with a life of its own, and how a host reaches it. */
import type { JsonObject } from "../../core/index.js";
import type { DiskEncryption, DiskSource } from "../disks/disk-source.js";

/** How to reach one volume (Nova's `connection_info`). What `data` holds is the connector's; secrets in it are ids of a `SecretStore`, never values. */
export interface VolumeConnection {
  /** Id of the volume: 1 to 128 characters of `[A-Za-z0-9._-]`. Seen by the guest as the disk's serial (its first 20 characters). */
  readonly volumeId: string;
  /** Name of the connector that understands `data`, for example `local`. */
  readonly type: string;
  readonly data: JsonObject;
  readonly readOnly?: boolean;
  /** The volume may be attached to several instances at once; the host connection is dropped with the last of them. */
  readonly multiattach?: boolean;
  /** The hypervisor decrypts the volume by a key of the `SecretStore`. Default: it is not encrypted. */
  readonly encryption?: DiskEncryption;
}

/** What a volume service must know of this host to export a volume to it (Nova's `get_volume_connector`). */
export interface VolumeHostProperties {
  readonly hostname: string;
  readonly ip: string;
  readonly initiator?: string;
  readonly multipath: boolean;
}

export interface VolumeConnectOptions {
  readonly signal?: AbortSignal | undefined;
}

/** One way of reaching volumes. Calls for one volume never overlap. */
export interface VolumeConnector {
  /** The `type` of the connections that it serves. */
  readonly type: string;
  /** Checks `data` without touching the host. Throws `InvalidArgumentError` that names the field below `path`. */
  validate(connection: VolumeConnection, path: string): void;
  /**
   * Makes the volume reachable; the source bears the connection's `encryption`. Connecting what is connected succeeds with the same source. On failure nothing is
   * left.
   */
  connect(connection: VolumeConnection, instanceUuid: string, options?: VolumeConnectOptions): Promise<DiskSource>;
  /** Undoes `connect` for this instance; success when it is not connected. */
  disconnect(connection: VolumeConnection, instanceUuid: string): Promise<void>;
  /** Makes the host see a volume that has grown; returns its size in bytes (Nova's `extend_volume`). */
  extend(
    connection: VolumeConnection,
    instanceUuid: string,
    sizeBytes: number,
    options?: VolumeConnectOptions,
  ): Promise<number>;
}
