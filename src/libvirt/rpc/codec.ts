/** Arguments, results, event payloads and errors of libvirt's procedures to bytes and back, for clients and for servers. */
import { InvalidArgumentError } from "../../core/index.js";
import type { Procedure } from "./procedure.js";
import { proceduresOf, structNamed } from "./protocol/schema.js";
import type { ProcedureEntry } from "./protocol/read-tables.js";
import type { StructNode } from "./protocol/type-node.js";
import type { RemoteError } from "./remote-error.js";
import { XdrReader } from "./xdr/xdr-reader.js";
import { xdrTypeOf } from "./xdr/xdr-type.js";
import { XdrWriter } from "./xdr/xdr-writer.js";

export type { RemoteError } from "./remote-error.js";

/**
 * The bytes of a call's arguments; `undefined` counts as no arguments. Throws `InvalidArgumentError` naming the value's path
 * (`arguments.dom.uuid`) for what C could not hold: integers out of range, texts with NUL or too long, lists too long.
 */
export function encodeArguments(procedure: Procedure, value: unknown): Buffer {
  return write(entryOf(procedure).arguments, value, "arguments");
}

/** The arguments of a call, for servers. Throws `LibvirtProtocolError` as {@link decodeResult} does. */
export function decodeArguments(procedure: Procedure, bytes: Uint8Array): unknown {
  return read(entryOf(procedure).arguments, bytes, `the arguments of ${procedure.name}`);
}

/** The bytes of a call's result or of an event's payload, for servers. Throws `InvalidArgumentError` with the path. */
export function encodeResult(procedure: Procedure, value: unknown): Buffer {
  return write(resultOf(procedure), value, procedure.kind === "event" ? "event" : "result");
}

/**
 * The result of a call (an object without members where C returns nothing else than success), or the payload of an event.
 * Throws `LibvirtProtocolError` when the bytes end early, a length is more than the protocol or the bytes allow, or a text
 * holds a NUL. Bytes after the value are ignored, as libvirt's own client ignores them: a newer daemon may say more.
 */
export function decodeResult(procedure: Procedure, bytes: Uint8Array): unknown {
  return read(
    resultOf(procedure),
    bytes,
    `the ${procedure.kind === "event" ? "payload" : "result"} of ${procedure.name}`,
  );
}

/** The bytes of an error, for servers. */
export function encodeError(error: RemoteError): Buffer {
  return write(structNamed("Error"), { ...error }, "error");
}

/** An error of the daemon. Throws `LibvirtProtocolError` as {@link decodeResult} does. */
export function decodeError(bytes: Uint8Array): RemoteError {
  const { dom: _dom, net: _net, ...error } = read(structNamed("Error"), bytes, "an error") as RemoteErrorOnWire;
  return error;
}

/** With two members that libvirt's daemon never fills. */
interface RemoteErrorOnWire extends RemoteError {
  readonly dom?: unknown;
  readonly net?: unknown;
}

function write(struct: StructNode, value: unknown, root: string): Buffer {
  const writer = new XdrWriter(root);
  xdrTypeOf(struct).write(writer, value ?? {});
  return writer.finish();
}

function read(struct: StructNode, bytes: Uint8Array, what: string): unknown {
  return xdrTypeOf(struct).read(new XdrReader(bytes, what));
}

function resultOf(procedure: Procedure): StructNode {
  const entry = entryOf(procedure);
  return entry.kind === "event" ? entry.arguments : entry.result;
}

function entryOf({ program, number, name }: Procedure): ProcedureEntry {
  const entry = proceduresOf(program)[number - 1];
  if (entry === undefined) {
    throw new InvalidArgumentError({
      field: "procedure",
      value: name,
      expected: `a procedure of the program ${program}`,
    });
  }
  return entry;
}
