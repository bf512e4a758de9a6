/** What a fake daemon sees of a call, and how its handlers answer. */
import type { LxcProcedures, Procedure, QemuProcedures, RemoteProcedures } from "../../libvirt/rpc/index.js";
import type { FakeLibvirtErrorDetails } from "./fake-libvirt-error.js";
import type { FakeLibvirtStream } from "./fake-libvirt-stream.js";

/** All procedures by name: those of the remote program, of QEMU's and of LXC's, whose names do not overlap. */
export type FakeProcedures = RemoteProcedures & QemuProcedures & LxcProcedures;

export type FakeProcedureName = keyof FakeProcedures & string;

/** A handler returns this to leave a call without a reply. */
export const NO_LIBVIRT_REPLY: unique symbol = Symbol("no reply");

/** A client that is connected. */
export interface FakeLibvirtClient {
  /** Its place among all that have ever connected, from 1. */
  readonly number: number;
  /** What it opened; undefined while it has not, or where it left the choice to the daemon. */
  readonly uri: string | undefined;
  readonly readOnly: boolean;
  /** How many of its calls are unanswered. */
  readonly unanswered: number;
  /** How many registrations for events it has. */
  readonly registrations: number;
  /** Whether it is gone. */
  readonly gone: boolean;
  hangUp(): void;
  /** Sends bytes as they are, cut as the server's options say. */
  sendRaw(bytes: Uint8Array): void;
}

/** A call as it arrived. */
export interface FakeLibvirtCall<N extends FakeProcedureName = FakeProcedureName> {
  readonly name: N;
  readonly args: FakeProcedures[N]["arguments"];
  readonly procedure: Procedure;
  readonly serial: number;
  /** Who called. */
  readonly client: FakeLibvirtClient;
  /** How many descriptors came with it. */
  readonly fdCount: number;
  /** For procedures that open one. What is written to it before the reply leaves behind the reply. */
  readonly stream: FakeLibvirtStream | undefined;
}

/**
 * Answers a call: with the result, a promise of it, {@link NO_LIBVIRT_REPLY}, or by throwing `FakeLibvirtError`. Calls are
 * handled side by side, as a daemon's workers do.
 */
export type FakeLibvirtHandler<N extends FakeProcedureName = FakeProcedureName> = (
  args: FakeProcedures[N]["arguments"],
  call: FakeLibvirtCall<N>,
) => FakeLibvirtResult<N> | Promise<FakeLibvirtResult<N>>;

export type FakeLibvirtResult<N extends FakeProcedureName> = FakeProcedures[N]["result"] | typeof NO_LIBVIRT_REPLY;

/** Handlers by the names of their procedures. */
export type FakeLibvirtHandlers = { readonly [N in FakeProcedureName]?: FakeLibvirtHandler<N> };

/** A handler whose procedure is known only at run time. */
export type UntypedHandler = (args: unknown, call: FakeLibvirtCall) => unknown;

/** A call that waits until the test answers it. */
export interface HeldLibvirtCall<N extends FakeProcedureName = FakeProcedureName> extends FakeLibvirtCall<N> {
  reply(result: FakeProcedures[N]["result"]): void;
  refuse(error: FakeLibvirtErrorDetails): void;
  /** Lets the server's handler answer it after all. */
  release(): void;
  /** Lets it be without a reply. */
  drop(): void;
}
