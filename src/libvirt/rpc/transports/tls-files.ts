/** Where a TLS client finds its certificates, by libvirt's conventions. */
import { readFile } from "node:fs/promises";
import { LibvirtConnectError } from "../errors.js";

/** The files of a TLS client; the list of revoked certificates, and the client's own pair, may be absent. */
export interface TlsFiles {
  readonly ca: string;
  readonly revoked: string;
  readonly certificate: string;
  readonly key: string;
}

/** What {@link readTlsFiles} gives. */
export interface TlsMaterial {
  readonly ca: Buffer;
  readonly crl?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** All in `pkipath` where that is given. */
export function tlsFilesIn(directory: string): TlsFiles {
  return {
    ca: `${directory}/cacert.pem`,
    revoked: `${directory}/cacrl.pem`,
    certificate: `${directory}/clientcert.pem`,
    key: `${directory}/clientkey.pem`,
  };
}

const SYSTEM_FILES: TlsFiles = {
  ca: "/etc/pki/CA/cacert.pem",
  revoked: "/etc/pki/CA/cacrl.pem",
  certificate: "/etc/pki/libvirt/clientcert.pem",
  key: "/etc/pki/libvirt/private/clientkey.pem",
};

/** The places to look in when no `pkipath` is given: a user's own come before the system's. */
export function tlsFileCandidates(uid: number, home: string | undefined): readonly TlsFiles[] {
  return uid === 0 || home === undefined ? [SYSTEM_FILES] : [tlsFilesIn(`${home}/.pki/libvirt`), SYSTEM_FILES];
}

/**
 * Reads each file from the first place that has it; the certificate and its key from one and the same.
 * @throws LibvirtConnectError when there is no authority's certificate, when one of a pair lacks the other, or a file can't be read
 */
export async function readTlsFiles(candidates: readonly TlsFiles[]): Promise<TlsMaterial> {
  const ca = await firstOf(candidates.map((files) => files.ca));
  if (ca === undefined) {
    throw new LibvirtConnectError("the certificate of the authority that vouches for the daemon is not there", {
      retryable: false,
      detail: candidates.map((files) => files.ca).join(", "),
      remedy: "install cacert.pem, or name its directory with the URI parameter pkipath",
    });
  }
  const crl = await firstOf(candidates.map((files) => files.revoked));
  for (const files of candidates) {
    const [cert, key] = await Promise.all([read(files.certificate), read(files.key)]);
    if (cert === undefined && key === undefined) continue;
    if (cert === undefined || key === undefined) {
      throw new LibvirtConnectError("the client's certificate and its key are not both there", {
        retryable: false,
        detail: `${files.certificate}, ${files.key}`,
      });
    }
    return { ca, cert, key, ...(crl === undefined ? {} : { crl }) };
  }
  return { ca, ...(crl === undefined ? {} : { crl }) };
}

async function firstOf(paths: readonly string[]): Promise<Buffer | undefined> {
  for (const path of paths) {
    const content = await read(path);
    if (content !== undefined) return content;
  }
  return undefined;
}

async function read(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new LibvirtConnectError(`a file of the TLS configuration can't be read (${code ?? "unknown error"})`, {
      retryable: false,
      detail: path,
      cause,
    });
  }
}
