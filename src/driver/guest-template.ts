/** Templates at the seam: the saved memory and disks of a guest, from which others start. */
import type { GuestDefinition } from "./guest-definition.js";
import type { JsonObject } from "../core/index.js";

export interface GuestTemplateDisk {
  readonly diskId: string;
  /** Absolute path of the file that is made. */
  readonly path: string;
  readonly format: "raw" | "qcow2";
}

export interface GuestTemplateRequest {
  /** Absolute path of the file that the memory is written to. */
  readonly memoryPath: string;
  /** All disks of the guest, but for drives without a medium. */
  readonly disks: readonly GuestTemplateDisk[];
}

/** What of a template is being written. */
export type GuestTemplatePhase = "memory" | "disks";

/** What a hypervisor has to know to start guests from a template; kept with it, and understood by the same kind of hypervisor only. */
export interface GuestTemplateState {
  readonly platform: JsonObject;
}

export interface GuestTemplate extends GuestTemplateState {
  /** Absolute path of the memory's file. */
  readonly memoryPath: string;
  /** As the template's guest was defined when it was saved. */
  readonly definition: GuestDefinition;
}
