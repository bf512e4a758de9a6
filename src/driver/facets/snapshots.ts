/** Images made from instances. */
import type { ImageFormat, ImageMetadata } from "../../storage/index.js";
import type { InstanceRef } from "../instance-spec.js";
import type { OperationHandle, OperationOptions } from "../../core/index.js";

export interface SnapshotOptions extends OperationOptions {
  readonly name?: string;
  /** Default `qcow2`. */
  readonly format?: Extract<ImageFormat, "raw" | "qcow2">;
  /**
   * `auto` (default): live when the guest runs and the driver can, else cold. `live`: reject with `NotSupportedError` rather than stop the guest. `cold`: suspend or
   * stop the guest while its disk is read, and have it run again afterwards.
   */
  readonly mode?: "auto" | "live" | "cold";
  /**
   * Freeze the guest's file systems by its agent while the point in time is taken. `auto` (default): if the agent answers. `required`: reject with `AgentUnresponsiveError` if not.
   */
  readonly quiesce?: "auto" | "required" | "never";
  readonly properties?: Readonly<Record<string, string>>;
}

export interface SnapshotsFacet {
  /**
   * Copies the root disk into the image store as `imageId`. Phases: `quiesce`, `copy`, `upload`; abortable until `upload` ends.
   * Called again with the id of a snapshot under way, gives the same handle. The handle's result rejects with `ConflictError` (a finished image has the id), `DiskNotFoundError`
   * (boots from a volume), `InvalidStateError`. However it ends the guest is in the state that it was in, thawed, and on failure or abort no image and no file is left.
   */
  snapshot(instance: InstanceRef, imageId: string, options?: SnapshotOptions): OperationHandle<ImageMetadata>;
}
