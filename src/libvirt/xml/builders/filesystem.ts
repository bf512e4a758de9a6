/** Directories of the host that a guest sees, in the words of who wants one. */
import type { DomainFilesystem, DomainFilesystemSource } from "../generated/types.gen.js";
import type { Editable } from "../xml-object.js";
import { defined } from "./defined.js";

/** A file system of a domain. */
export interface FilesystemOptions {
  readonly source:
    | { readonly directory: string }
    | { readonly file: string }
    | { readonly block: string }
    /** The socket of a virtiofsd that somebody else runs. */
    | { readonly socket: string };
  /** What a virtual machine mounts it by; where it is mounted in a container. */
  readonly target: string;
  /** Default: what the hypervisor has, which for QEMU is 9p. virtiofs needs shared memory. */
  readonly driver?: "virtiofs" | "path" | "loop" | "nbd" | undefined;
  readonly accessMode?: "passthrough" | "mapped" | "squash" | undefined;
  readonly readonly?: boolean | undefined;
}

/** The element `<filesystem>`. */
export function filesystemXml(options: FilesystemOptions): Editable<DomainFilesystem> {
  const { target, driver, accessMode, readonly } = options;
  return defined<DomainFilesystem>({
    ...sourceOf(options.source),
    accessmode: accessMode,
    driver: driver === undefined ? undefined : { type: driver },
    target: { dir: target },
    readonly: readonly === true ? true : undefined,
  });
}

function sourceOf(source: FilesystemOptions["source"]): { type: string; source: DomainFilesystemSource } {
  if ("directory" in source) return { type: "mount", source: { dir: source.directory } };
  if ("file" in source) return { type: "file", source: { file: source.file } };
  if ("block" in source) return { type: "block", source: { dev: source.block } };
  return { type: "mount", source: { socket: source.socket } };
}
