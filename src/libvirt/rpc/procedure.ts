/** What a procedure of libvirt's protocol is. */

/** The programs that a hypervisor's socket serves. */
export type ProgramName = "remote" | "qemu" | "lxc";

/** One procedure: something to call, or an event that the daemon sends. */
export interface Procedure {
  readonly program: ProgramName;
  /** The C function's name without `vir`, in camel case: `domainGetXmlDesc` for `virDomainGetXMLDesc`. */
  readonly name: string;
  readonly number: number;
  readonly kind: "call" | "event";
  /** Which way data flows on the stream that the call opens, seen from the client; absent for calls that open none. */
  readonly stream?: "read" | "write" | "both";
  /** Whether bit 0 of the call's flags allows holes in the stream. */
  readonly sparseFlag?: boolean;
  /** Whether file descriptors go with the call or with its reply. */
  readonly passesFds?: boolean;
  /** `high`: the daemon answers even while all its ordinary workers are busy. */
  readonly priority: "high" | "low";
}
