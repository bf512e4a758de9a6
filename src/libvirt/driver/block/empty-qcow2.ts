/** An empty qcow2 image, as QEMU's documentation of the format has it (docs/interop/qcow2.txt, version 3). Pure. */

const MAGIC = 0x514649fb;
const VERSION = 3;
const HEADER_BYTES = 104;
const CLUSTER_BITS = 16;
const CLUSTER_BYTES = 2 ** CLUSTER_BITS;
/** 16 bits a reference count. */
const REFCOUNT_ORDER = 4;
/** What one entry of the upper table maps. */
const L1_ENTRY_BYTES = CLUSTER_BYTES * (CLUSTER_BYTES / 8);
/** Clusters of header, table of reference counts, and their first block. */
const FIXED_CLUSTERS = 3;
/**
 * The first bytes of the image; what is behind them up to `fileBytes` is zero.
 * @param sizeBytes what a guest sees, a multiple of 512, below 2^53: the first block of reference counts counts all tables then
 */
export function emptyQcow2(sizeBytes: number): { readonly head: Buffer; readonly fileBytes: number } {
  const l1Entries = Math.max(1, Math.ceil(sizeBytes / L1_ENTRY_BYTES));
  const clusters = FIXED_CLUSTERS + Math.ceil((l1Entries * 8) / CLUSTER_BYTES);
  const head = Buffer.alloc(FIXED_CLUSTERS * CLUSTER_BYTES);
  head.writeUInt32BE(MAGIC, 0);
  head.writeUInt32BE(VERSION, 4);
  head.writeUInt32BE(CLUSTER_BITS, 20);
  head.writeBigUInt64BE(BigInt(sizeBytes), 24);
  head.writeUInt32BE(l1Entries, 36);
  head.writeBigUInt64BE(BigInt(FIXED_CLUSTERS * CLUSTER_BYTES), 40);
  head.writeBigUInt64BE(BigInt(CLUSTER_BYTES), 48);
  head.writeUInt32BE(1, 56);
  head.writeUInt32BE(REFCOUNT_ORDER, 96);
  head.writeUInt32BE(HEADER_BYTES, 100);
  head.writeBigUInt64BE(BigInt(2 * CLUSTER_BYTES), CLUSTER_BYTES);
  for (let cluster = 0; cluster < clusters; cluster++) head.writeUInt16BE(1, 2 * CLUSTER_BYTES + 2 * cluster);
  return { head, fileBytes: clusters * CLUSTER_BYTES };
}
