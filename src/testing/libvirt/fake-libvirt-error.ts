/** What handlers throw to refuse a call as a daemon does. */
import { HyperviseError, nameErrorClass } from "../../core/index.js";
import type { RemoteError } from "../../libvirt/rpc/index.js";

/** Code and domain are needed; the rest has the values that libvirt mostly sends. */
export type FakeLibvirtErrorDetails = Pick<RemoteError, "code" | "domain"> & Partial<RemoteError>;

/** The call is answered with this error. Code `FAKE_LIBVIRT_REFUSED`. */
export class FakeLibvirtError extends HyperviseError {
  readonly remote: RemoteError;

  static {
    nameErrorClass(this, "FakeLibvirtError");
  }

  constructor(details: FakeLibvirtErrorDetails) {
    const { message = `refused with code ${details.code}` } = details;
    super(message, { code: "FAKE_LIBVIRT_REFUSED" });
    this.remote = { level: 2, str1: "%s", str2: message, int1: -1, int2: -1, ...details, message };
  }
}
