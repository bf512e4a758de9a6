/** Templates: the memory and disks of a running guest, from which many others start without booting. */
import type { CommonOptions, JsonObject, OperationHandle, OperationOptions } from "../../core/index.js";
import type { CpuModel } from "../host-facts.js";
import type { DiskSourceFormat } from "../../storage/index.js";
import type { GuestDefinition } from "../guest-definition.js";
import type { InstanceRef, InstanceSpec } from "../instance-spec.js";
import type { SpawnResult } from "../results.js";

export interface TemplateDisk {
  /** `root`, `ephemeral0`, `swap`. */
  readonly name: string;
  /** Name of the file in the template's directory. */
  readonly file: string;
  readonly format: DiskSourceFormat;
  readonly sizeBytes: number;
}

/** What stands in `template.json` of a template's directory. Layout version 1. */
export interface TemplateManifest {
  readonly version: 1;
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly hypervisorType: string;
  readonly hypervisorVersion: number;
  /** The host's, which the guest may have seen. */
  readonly cpu: CpuModel;
  /** Of the instance that was saved, without secrets: what a spec for `spawnFromTemplate` starts from. */
  readonly spec: Omit<InstanceSpec, "adminPassword" | "injectedFiles">;
  readonly definition: GuestDefinition;
  /** Name of the memory's file in the directory. */
  readonly memoryFile: string;
  readonly disks: readonly TemplateDisk[];
  /** What the hypervisor keeps for itself. */
  readonly platform: JsonObject;
}

export interface TemplatesFacet {
  /**
   * Saves a guest in memory as a template: its memory and copies of its own disks, as they are at one point in time, in a new directory. The guest stands still for as long as its memory takes, then goes on.
   * Phases: `memory` and `disks`, in the hypervisor's order; abortable until its end. `directory` is an absolute path at which nothing is, in a directory that is there.
   * The handle's result rejects with `ConflictError` (something is there; volumes or devices of the host are attached: a template can't hold those), `InvalidStateError` (not in memory, rescued, resized, migrating),
   * `DiskFullError`. However it ends the guest is as before, and on failure or abort nothing of the template is left.
   */
  saveTemplate(instance: InstanceRef, directory: string, options?: OperationOptions): OperationHandle<TemplateManifest>;

  /** Rejects with `TemplateNotFoundError`, `TemplateUnusableError`. */
  describeTemplate(directory: string, options?: CommonOptions): Promise<TemplateManifest>;

  /**
   * Creates an instance that runs on from a template, its disks copy-on-write on the template's, which must stay where it is for as long as the instance has them. `spec` is as for `spawn`; all that the guest has seen must be as in the template:
   * flavor, image, kernel, machine, firmware, drives, hardware (but for pinning, listeners of consoles and the vsock address), the models of its NICs. Free are uuid, name, metadata, and the ids, MAC addresses and networks of its ports,
   * of which there must be as many. It runs programs that know nothing of this: keys, machine ids and open connections are the template's; where the machine has it, the generation id tells it.
   * Rejects as `spawn`, with `InvalidArgumentError` naming the first field that differs from the template, `TemplateNotFoundError`, `TemplateUnusableError`; whatever the failure, nothing of the instance is left.
   */
  spawnFromTemplate(spec: InstanceSpec, directory: string, options?: OperationOptions): Promise<SpawnResult>;

  /**
   * Removes a template. Success when nothing is there. Rejects with `ConflictError` while instances have disks on it, of this host or another that has the directory, and when the directory is no template.
   * A call that fails half-way leaves no template that could be used; a repeated one goes on.
   */
  deleteTemplate(directory: string, options?: CommonOptions): Promise<void>;
}
