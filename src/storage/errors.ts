/** Errors of images, disks and volumes. */
import { HyperviseError, nameErrorClass } from "../core/index.js";
import type { ErrorContext } from "../core/index.js";

/** The image store has no such image. Code `IMAGE_NOT_FOUND`. */
export class ImageNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "ImageNotFoundError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "IMAGE_NOT_FOUND" });
  }
}

/** The image's bytes are not what its record says, or refer to files outside of it. Code `IMAGE_UNACCEPTABLE`. */
export class ImageUnacceptableError extends HyperviseError {
  static {
    nameErrorClass(this, "ImageUnacceptableError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "IMAGE_UNACCEPTABLE" });
  }
}

/** The bytes of an image did not come: the server refused, or the connection or stream broke off. Nothing is kept but what was asked for. Code `IMAGE_TRANSFER_FAILED`. */
export class ImageTransferError extends HyperviseError {
  /** The HTTP status that the server answered with, where it did. */
  declare readonly status?: number;

  static {
    nameErrorClass(this, "ImageTransferError");
  }
  constructor(message: string, context: ErrorContext & { readonly status?: number | undefined } = {}) {
    super(message, { retryable: true, ...context, code: "IMAGE_TRANSFER_FAILED" });
    if (context.status !== undefined) this.status = context.status;
  }
}

/** The instance has no such disk. Code `DISK_NOT_FOUND`. */
export class DiskNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "DiskNotFoundError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "DISK_NOT_FOUND" });
  }
}

/** A volume could not be made reachable on this host. Nothing of it is left. Code `VOLUME_CONNECT_FAILED`. */
export class VolumeConnectError extends HyperviseError {
  static {
    nameErrorClass(this, "VolumeConnectError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "VOLUME_CONNECT_FAILED" });
  }
}

/** The secret store has no such secret. Code `SECRET_NOT_FOUND`. */
export class SecretNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "SecretNotFoundError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "SECRET_NOT_FOUND" });
  }
}

/** The disk's passphrase opens none of its key slots, or it is not encrypted as was said. Code `DISK_KEY_REFUSED`. */
export class DiskKeyError extends HyperviseError {
  static {
    nameErrorClass(this, "DiskKeyError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "DISK_KEY_REFUSED" });
  }
}

/** The host's storage has no space left. What was begun is removed. Code `DISK_FULL`. */
export class DiskFullError extends HyperviseError {
  static {
    nameErrorClass(this, "DiskFullError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "DISK_FULL" });
  }
}

/** The host's storage did not do what it was asked for: the cause says why. What was begun is removed. Code `STORAGE_FAILED`. */
export class StorageError extends HyperviseError {
  /** `EACCES`, `EIO`, …; absent where a command failed. */
  declare readonly errno?: string;

  static {
    nameErrorClass(this, "StorageError");
  }
  constructor(message: string, context: ErrorContext & { readonly errno?: string | undefined } = {}) {
    super(message, { ...context, code: "STORAGE_FAILED" });
    if (context.errno !== undefined) this.errno = context.errno;
  }
}
