/** What this host tells volume services of itself. */
import { readFile } from "node:fs/promises";
import { hostname, networkInterfaces } from "node:os";
import { check } from "../../core/index.js";
import type { VolumeHostProperties } from "./volume-connector.js";

const INITIATOR_FILE = "/etc/iscsi/initiatorname.iscsi";
const IQN = /^(?:iqn\.\d{4}-\d{2}\.|eui\.|naa\.)[\x21-\x7e]{1,223}$/;

export interface HostPropertiesOptions {
  /** Address on the storage network. Default: the first that the host has, IPv4 before IPv6. */
  readonly ip?: string;
  /** Volumes may be reached by several paths. Default false. */
  readonly multipath?: boolean;
}

/** The host's name and address, and its iSCSI initiator's name where it has one. @throws InvalidArgumentError for an `ip` that is none. */
export async function readVolumeHostProperties(options: HostPropertiesOptions = {}): Promise<VolumeHostProperties> {
  const { ip = firstAddress(), multipath = false } = options;
  const initiator = parseInitiator(await readFile(INITIATOR_FILE, "utf8").catch(() => ""));
  return {
    hostname: hostname(),
    ip: check.ipAddress()(ip, "ip"),
    multipath,
    ...(initiator === undefined ? {} : { initiator }),
  };
}

/** The name that a file of open-iscsi gives: `InitiatorName=iqn.…`. */
export function parseInitiator(text: string): string | undefined {
  const name = /^\s*InitiatorName\s*=\s*(\S+)\s*$/m.exec(text)?.[1];
  return name !== undefined && IQN.test(name) ? name : undefined;
}

function firstAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outside = all.filter(({ internal, address }) => !internal && !address.startsWith("fe80:"));
  return (outside.find(({ family }) => family === "IPv4") ?? outside[0])?.address ?? "127.0.0.1";
}
