/** Images: what a root disk is made from, in the terms of an image service. */

/** Formats that an image record may name. The format comes from the record; it is never probed from the image's bytes. */
export const IMAGE_FORMATS = ["raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso", "ami", "ari", "aki"] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** What an image service says of an image. */
export interface ImageMetadata {
  /** Opaque id in the image store, 1 to 255 characters of `[A-Za-z0-9._-]`. */
  readonly id: string;
  readonly name?: string;
  readonly format: ImageFormat;
  /** Bytes of the stored image; absent while it is not uploaded. */
  readonly sizeBytes?: number;
  /** Bytes of the disk that a guest sees; absent where the store does not know it. */
  readonly virtualSizeBytes?: number;
  /** Smallest root disk that the image fits on, in GiB. */
  readonly minDiskGiB?: number;
  /** Smallest guest memory that the image wants, in MiB. */
  readonly minMemoryMiB?: number;
  /** `sha256:<hex>` or `sha512:<hex>` of the stored bytes, where known. */
  readonly checksum?: string;
  /** Free-form properties (Glance's `hw_*`, `os_*` names where they apply). */
  readonly properties?: Readonly<Record<string, string>>;
}

/** An image as a file on this host, ready to be a backing file or to be copied. It is shared and must not be written. */
export interface LocalImage {
  readonly id: string;
  readonly path: string;
  readonly format: ImageFormat;
  /** Bytes of the disk that a guest sees. */
  readonly virtualSizeBytes: number;
}
