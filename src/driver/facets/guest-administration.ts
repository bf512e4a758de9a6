/** What is done inside a guest, by its agent or by an interrupt. */
import type { CommonOptions, Secret } from "../../core/index.js";
import type { InstanceRef } from "../instance-spec.js";

/** All reject with `InvalidStateError` unless the guest runs, and with `AgentUnresponsiveError` (retryable) when its agent does not answer. */
export interface GuestAgentFacet {
  /** Sets a password in the guest; `user` defaults to the guest's administrator: `root`, unless the hypervisor knows another name. The password is in no error, log or trace. (Nova's `set_admin_password`.) */
  setAdminPassword(
    instance: InstanceRef,
    password: string | Secret,
    options?: CommonOptions & { readonly user?: string },
  ): Promise<void>;
  /** Writes a file in the guest, at most 16 MiB. (Nova's `inject_file`.) */
  injectFile(instance: InstanceRef, path: string, contents: Uint8Array, options?: CommonOptions): Promise<void>;
  /** Reads a file of the guest, at most `maxBytes` (default 1 MiB). */
  readGuestFile(
    instance: InstanceRef,
    path: string,
    options?: CommonOptions & { readonly maxBytes?: number },
  ): Promise<Uint8Array>;
  /** Runs a program in the guest without a shell and gives its output, bounded by the agent. */
  execInGuest(
    instance: InstanceRef,
    argv: readonly string[],
    options?: CommonOptions & { readonly input?: Uint8Array },
  ): Promise<{ readonly exitCode: number; readonly stdout: Uint8Array; readonly stderr: Uint8Array }>;
  /** The guest's own view of its interfaces and addresses. */
  getGuestInterfaces(
    instance: InstanceRef,
    options?: CommonOptions,
  ): Promise<readonly { readonly name: string; readonly macAddress?: string; readonly addresses: readonly string[] }[]>;
}

export interface QuiesceFacet {
  /** Freezes the guest's file systems; success when frozen. Thawed by `unquiesce`, and by the driver when it closes. Rejects with `AgentUnresponsiveError`. */
  quiesce(instance: InstanceRef, options?: CommonOptions): Promise<void>;
  /** Success when nothing is frozen. */
  unquiesce(instance: InstanceRef, options?: CommonOptions): Promise<void>;
}

export interface CrashDumpFacet {
  /** Sends a non-maskable interrupt. Rejects with `InvalidStateError` unless the guest runs. (Nova's `trigger_crash_dump`.) */
  triggerCrashDump(instance: InstanceRef, options?: CommonOptions): Promise<void>;
}
