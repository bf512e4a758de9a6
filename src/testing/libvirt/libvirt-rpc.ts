/** The RPC client's room, loaded when a fake of libvirt is made: its protocol tables are large. */
import type * as Rpc from "../../libvirt/rpc/index.js";

export type LibvirtRpc = typeof Rpc;

export function loadLibvirtRpc(): Promise<LibvirtRpc> {
  return import("../../libvirt/rpc/index.js");
}
