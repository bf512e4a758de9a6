/** Reads a document as libvirt's parsers do: what is not well-formed is refused with their code. */
import type { ErrorDomain } from "../../../libvirt/rpc/index.js";
import { refusal } from "./refuse.js";

export function readDocument<T>(what: string, domain: keyof typeof ErrorDomain, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw refusal("xmlDetail", domain, `(${what}_definition):1: ${error instanceof Error ? error.message : ""}`);
  }
}
