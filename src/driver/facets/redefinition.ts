/** Facets that give a guest another definition: rescue, resize, rebuild. */
import type { Flavor, InjectedFile, InstanceRef } from "../instance-spec.js";
import type { JsonObject, OperationHandle, OperationOptions, Secret } from "../../core/index.js";

export interface RescueFacet {
  /**
   * Boots the instance from a rescue disk made of `imageId` (default: the instance's own image), its own root disk second. Rejects with `InstanceNotRescuableError` (no image, boots from a volume),
   * `InvalidStateError` (already rescued; suspended). On failure or abort the instance has its own definition and power state again. (Nova's `rescue`.)
   */
  rescue(
    instance: InstanceRef,
    options?: OperationOptions & { readonly imageId?: string; readonly adminPassword?: string | Secret },
  ): Promise<void>;
  /** Gives the instance its own definition again and starts it if it ran before. Success when it is not rescued. (Nova's `unrescue`.) */
  unrescue(instance: InstanceRef, options?: OperationOptions): Promise<void>;
}

export interface RebuildFacet {
  /**
   * Makes the instance anew from an image, keeping its identity, ports and volumes; the root disk's content is replaced. It ends running if it ran.
   * On failure or abort it has its old disks and its old power state again. Rejects with `ImageNotFoundError`, `FlavorDiskTooSmallError`, `InvalidStateError` (rescued, resized, suspended; boots from a
   * volume). (Nova's `rebuild`.)
   */
  rebuild(
    instance: InstanceRef,
    imageId: string,
    options?: OperationOptions & {
      readonly preserveEphemeral?: boolean;
      readonly adminPassword?: string | Secret;
      readonly injectedFiles?: readonly InjectedFile[];
    },
  ): Promise<void>;
}

/** What the source of a resize hands to its destination; plain data that an embedder may carry between hosts. */
export interface ResizeTicket {
  /** Layout version of the ticket. */
  readonly version: 1;
  readonly id: string;
  readonly spec: JsonObject;
  readonly oldFlavor: Flavor;
  readonly newFlavor: Flavor;
  /** True when the guest was in memory. */
  readonly wasRunning: boolean;
  /** Source and destination are one host. */
  readonly sameHost: boolean;
  /** Names and sizes of the disks that go along. */
  readonly disks: readonly { readonly name: string; readonly virtualSizeBytes: number }[];
}

export interface ResizeFacet {
  /**
   * Source: stops the guest cleanly, disconnects its volumes, and keeps a way back. Rejects with `ResizeError` (a disk would shrink), `InvalidStateError`. On failure or abort the guest is as before, running if it ran.
   * (Nova's `migrate_disk_and_power_off`.)
   */
  migrateDiskAndPowerOff(
    instance: InstanceRef,
    flavor: Flavor,
    options?: OperationOptions & { readonly graceMs?: number; readonly destination?: "same-host" | "shared-storage" },
  ): Promise<ResizeTicket>;
  /** Destination: grows disks, connects volumes, defines with the new flavor, starts if `powerOn` (default: if it ran). On failure or abort the destination is as before the call. (Nova's `finish_migration`.) */
  finishMigration(
    instance: InstanceRef,
    ticket: ResizeTicket,
    options?: OperationOptions & { readonly powerOn?: boolean },
  ): Promise<void>;
  /** Source: drops the way back. Repeatable. (Nova's `confirm_migration`.) */
  confirmMigration(instance: InstanceRef, options?: OperationOptions): Promise<void>;
  /** Source: goes back to the old flavor and disks, and starts if it ran. Repeatable. Rejects with `InvalidStateError` when there is nothing to revert. (Nova's `finish_revert_migration`.) */
  finishRevertMigration(
    instance: InstanceRef,
    options?: OperationOptions & { readonly powerOn?: boolean },
  ): Promise<void>;
  /**
   * Resize on this host in one go: `migrateDiskAndPowerOff` and `finishMigration`, each undone when the other fails. The instance is then `resized` until
   * `confirmMigration` or `finishRevertMigration`. Called again with the flavor of a resize under way, gives the same handle.
   */
  resize(instance: InstanceRef, flavor: Flavor, options?: OperationOptions): OperationHandle<void>;
}
