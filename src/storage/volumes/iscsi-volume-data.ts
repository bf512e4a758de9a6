/** What connections of type `iscsi` say, whoever opens them: QEMU by itself, or the host's kernel. */
import { check } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import type { StorageServer } from "../disks/disk-source.js";
import { iscsiAuthCheck, iscsiLunCheck, iscsiNameCheck, storageServerCheck } from "../disks/validate-disk-source.js";

/** `data` of a connection of type `iscsi`. The unit is raw. */
export interface IscsiVolumeData {
  /** Where the target is served, at most 16. QEMU uses the first that answers, a host with multipath all of them. */
  readonly portals: readonly StorageServer[];
  /** Name of the target: `iqn.…`. */
  readonly target: string;
  /** 0 to 16383. */
  readonly lun: number;
  /** One-way CHAP; the password by its id in the `SecretStore`. */
  readonly auth?: { readonly username: string; readonly secretId: string };
}

export const iscsiDataCheck: Check<IscsiVolumeData> = check.object({
  portals: check.array(storageServerCheck, { min: 1, max: 16 }),
  target: iscsiNameCheck,
  lun: iscsiLunCheck,
  auth: check.optional(iscsiAuthCheck),
});
