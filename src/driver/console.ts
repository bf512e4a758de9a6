/** What a driver shows of a guest's consoles. */

export interface ConsoleLog {
  /** The last bytes, as they came. */
  readonly bytes: Uint8Array;
  /** True when older output was left out. */
  readonly truncated: boolean;
}

/** Where a console listens (Nova's `ConsoleType`). */
export interface ConsoleAddress {
  readonly kind: "vnc" | "spice" | "serial";
  /** Absent for a UNIX socket. */
  readonly host?: string;
  readonly port?: number;
  readonly tlsPort?: number;
  /** Path of a UNIX socket on the driver's host. */
  readonly socketPath?: string;
  /** Path of a pseudo terminal on the driver's host; of serial consoles. */
  readonly ttyPath?: string;
}

export interface Screenshot {
  readonly mediaType: "image/png" | "image/x-portable-pixmap";
  readonly bytes: Uint8Array;
}
