/** The header of a Linux swap area, version 1, as `mkswap` writes it. Pure. */
import { InvalidArgumentError } from "../../core/index.js";

/** Page of the guests that swap areas are made for. */
export const SWAP_PAGE_BYTES = 4096;

const MAGIC = "SWAPSPACE2";
/** The kernel takes no area of fewer pages. */
const FEWEST_PAGES = 10;
const MOST_PAGES = 0xffff_ffff;
const [VERSION_AT, LAST_PAGE_AT, UUID_AT, LABEL_AT] = [1024, 1028, 1036, 1052];

export interface SwapArea {
  readonly sizeBytes: number;
  readonly uuid: string;
  /** At most 16 bytes. */
  readonly label?: string;
}

/** The first page. @throws InvalidArgumentError for an area that is too small */
export function swapHeader({ sizeBytes, uuid, label = "" }: SwapArea): Buffer {
  const pages = Math.min(Math.floor(sizeBytes / SWAP_PAGE_BYTES), MOST_PAGES);
  if (pages < FEWEST_PAGES)
    throw new InvalidArgumentError({
      field: "sizeBytes",
      value: sizeBytes,
      expected: `at least ${FEWEST_PAGES * SWAP_PAGE_BYTES} bytes for a swap area`,
    });
  const page = Buffer.alloc(SWAP_PAGE_BYTES);
  page.writeUInt32LE(1, VERSION_AT);
  page.writeUInt32LE(pages - 1, LAST_PAGE_AT);
  Buffer.from(uuid.replaceAll("-", ""), "hex").copy(page, UUID_AT);
  Buffer.from(label).copy(page, LABEL_AT, 0, 16);
  page.write(MAGIC, SWAP_PAGE_BYTES - MAGIC.length, "latin1");
  return page;
}
