/** What a daemon says when it refuses a call or ends a stream: `virError`, as it comes over the wire. */
export interface RemoteError {
  /** `virErrorNumber`; see {@link ErrorNumber}. */
  readonly code: number;
  /** `virErrorDomain`; see {@link ErrorDomain}. */
  readonly domain: number;
  /** In the language of the daemon. */
  readonly message?: string | undefined;
  /** `virErrorLevel`: 1 for a warning, 2 for an error. */
  readonly level: number;
  readonly str1?: string | undefined;
  readonly str2?: string | undefined;
  readonly str3?: string | undefined;
  readonly int1: number;
  readonly int2: number;
}
