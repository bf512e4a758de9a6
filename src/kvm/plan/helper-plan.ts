/** The processes that a guest needs beside QEMU. Pure. */
import type { GuestDefinition } from "../../driver/index.js";
import { GUEST_FILES } from "./parts.js";

/** How a helper process is reached. It inherits its end as its standard input, which alone Node makes a blocking one. */
export type HelperSocket =
  /** A pair, whose other end QEMU inherits. */
  | { readonly type: "pair" }
  /** A listening socket in the guest's directory. */
  | { readonly type: "listening"; readonly file: string };

export interface HelperPlan {
  /** `tpm`, or the id of a file system. */
  readonly name: string;
  readonly binary: string;
  /** Without the binary. Runs in the guest's directory. */
  readonly args: readonly string[];
  readonly socket: HelperSocket;
  /** A directory that it wants, in the guest's. */
  readonly directory?: string;
  /** Whether it runs as the user that QEMU runs as; else as the driver's own, since it has to reach files of others. */
  readonly asQemu: boolean;
}

/** Programs that are there for helpers. */
export interface HelperBinaries {
  readonly swtpm?: string;
  readonly virtiofsd?: string;
}

/** Whether the guest needs any. */
export function needsHelpers({ hardware }: Pick<GuestDefinition, "hardware">): boolean {
  return hardware?.tpm !== undefined || hardware?.filesystems?.some(({ driver }) => driver === "virtiofs") === true;
}

/** The socket of a file system over virtiofs, in the guest's directory. */
export function filesystemSocket(tag: string): string {
  return `fs-${tag}.sock`;
}

/** Both end when QEMU hangs up. What stands for a missing program fails when it is started; a definition that needs it is refused before. */
export function planHelpers(
  { hardware }: Pick<GuestDefinition, "hardware">,
  binaries: HelperBinaries,
): readonly HelperPlan[] {
  const { tpm, filesystems = [] } = hardware ?? {};
  const files = filesystems
    .filter(({ driver }) => driver === "virtiofs")
    .map(({ tag, path }): HelperPlan => ({
      name: `fs-${tag}`,
      binary: binaries.virtiofsd ?? "virtiofsd",
      args: ["--fd=0", "-o", `source=${path}`],
      socket: { type: "listening", file: filesystemSocket(tag) },
      asQemu: false,
    }));
  return tpm === undefined ? files : [tpmPlan(binaries.swtpm ?? "swtpm"), ...files];
}

function tpmPlan(binary: string): HelperPlan {
  const state = `dir=${GUEST_FILES.tpm},mode=0600`;
  const args = ["socket", "--tpm2", "--tpmstate", state, "--ctrl", "type=unixio,clientfd=0", "--terminate"];
  return { name: "tpm", binary, args, socket: { type: "pair" }, directory: GUEST_FILES.tpm, asQemu: true };
}
