/** Types of calls by name: what each takes and gives, for all of libvirt's programs. */
import type { LxcProcedures } from "./protocol/lxc-types.gen.js";
import type { QemuProcedures } from "./protocol/qemu-types.gen.js";
import type { RemoteProcedures } from "./protocol/remote-types.gen.js";

/** A table of procedures: what each takes and what it gives. */
export interface ProcedureTable {
  readonly [name: string]: { readonly arguments: object; readonly result: object };
}

/** The procedures of the remote program: nearly all of libvirt. */
export type RemoteCallName = keyof RemoteProcedures & string;
/** Those of QEMU alone. */
export type QemuCallName = keyof QemuProcedures & string;
/** Those of LXC alone. */
export type LxcCallName = keyof LxcProcedures & string;

/** The arguments of a call and its options; a procedure without members takes none. */
export type CallParameters<A, O> = string extends keyof A ? [args?: A, options?: O] : [args: A, options?: O];
