/** The refusals of the simulated drivers, with libvirt's numbers. */
import { ErrorDomain, ErrorNumber } from "../../../libvirt/rpc/index.js";
import { FakeLibvirtError } from "../fake-libvirt-error.js";

/** Says which part of libvirt refuses, and why, by the names of libvirt's numbers. */
export function refusal(
  code: keyof typeof ErrorNumber,
  domain: keyof typeof ErrorDomain,
  message: string,
  more: { readonly int1?: number } = {},
): FakeLibvirtError {
  return new FakeLibvirtError({ code: ErrorNumber[code], domain: ErrorDomain[domain], message, ...more });
}

/** A call at the wrong time, as QEMU's driver refuses it. */
export function invalidOperation(message: string): FakeLibvirtError {
  return refusal("operationInvalid", "qemu", message);
}

/** Bits that a procedure does not have. */
export function checkFlags(flags: number, allowed: number): void {
  const unknown = (flags & ~allowed) >>> 0;
  if (unknown !== 0)
    throw refusal("invalidArg", "qemu", `unsupported flags (0x${unknown.toString(16)}) in function simulated`);
}
