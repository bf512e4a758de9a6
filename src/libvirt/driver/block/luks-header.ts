/** What a LUKS header takes of a disk that is one LUKS container (LUKS1 on-disk format, section 2: the partition header). */
import { open } from "node:fs/promises";
import { NotSupportedError } from "../../../core/index.js";
import { HostIoError } from "../../../host/index.js";
import { StorageError, isLocalSource } from "../../../storage/index.js";
import type { DiskSource } from "../../../storage/index.js";

const MAGIC = Buffer.from("LUKS\xba\xbe\x00\x01", "latin1");
/** Offset of the number that says where the payload begins, in sectors. */
const PAYLOAD_OFFSET = 104;
const SECTOR_BYTES = 512;

/**
 * 0 for a source that is not encrypted, or is so within a qcow2 file.
 * @throws NotSupportedError for network storage, whose header the host can't see; StorageError when there is none; HostIoError
 */
export async function luksHeaderBytes(source: DiskSource): Promise<number> {
  if (source.encryption === undefined || source.format !== "raw") return 0;
  if (!isLocalSource(source))
    throw new NotSupportedError({ capability: "the size of encrypted disks on network storage" });
  const head = await readHead(source.path);
  if (!head.subarray(0, MAGIC.length).equals(MAGIC))
    throw new StorageError("the encrypted disk has no LUKS header of version 1", { detail: source.path });
  return head.readUInt32BE(PAYLOAD_OFFSET) * SECTOR_BYTES;
}

async function readHead(path: string): Promise<Buffer> {
  const head = Buffer.alloc(PAYLOAD_OFFSET + 4);
  try {
    const file = await open(path, "r");
    try {
      await file.read(head, 0, head.length, 0);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new HostIoError({ operation: "reading a disk", path, cause });
  }
  return head;
}
