/** Bytes that move at a rate on the world's clock. */
import type { FakeProcess } from "./process.js";

export interface Transfer {
  readonly bytes: number;
  readonly mibps: number;
  readonly signal?: AbortSignal | undefined;
  /** Called at the beginning, after each tenth, and at the end. */
  readonly onProgress?: ((progress: { readonly bytesDone: number; readonly bytesTotal: number }) => void) | undefined;
}

const MIB = 1024 ** 2;
const STEPS = 10;

/** Resolves when all is over; rejects when the call is aborted or the process dies. */
export async function transfer(process: FakeProcess, work: Transfer): Promise<void> {
  const { bytes, mibps, signal, onProgress } = work;
  const totalMs = (bytes / (mibps * MIB)) * 1000;
  onProgress?.({ bytesDone: 0, bytesTotal: bytes });
  if (totalMs > 0) {
    for (let step = 1; step < STEPS; step++) {
      await process.sleep(totalMs / STEPS, signal);
      onProgress?.({ bytesDone: Math.floor((bytes * step) / STEPS), bytesTotal: bytes });
    }
    await process.sleep(totalMs / STEPS, signal);
  }
  onProgress?.({ bytesDone: bytes, bytesTotal: bytes });
}
