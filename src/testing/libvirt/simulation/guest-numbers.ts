/** What a simulated guest has used so far: plausible numbers that grow with the host's clock. */
import { DomainState } from "../../../libvirt/rpc/index.js";
import type { DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";

/** Share of one processor that a guest uses. */
const LOAD = 0.05;

function seconds(host: HostState, domain: DomainRecord): number {
  return domain.state === DomainState.shutoff ? 0 : Math.max(0, host.clock.now() - domain.startedAt) / 1000;
}

export function cpuNanoseconds(host: HostState, domain: DomainRecord): bigint {
  return BigInt(Math.round(seconds(host, domain) * LOAD * 1e9));
}

export interface DiskNumbers {
  readonly rdReq: bigint;
  readonly rdBytes: bigint;
  readonly wrReq: bigint;
  readonly wrBytes: bigint;
}

export function diskNumbers(host: HostState, domain: DomainRecord): DiskNumbers {
  const count = BigInt(Math.floor(seconds(host, domain)));
  return { rdReq: count * 10n, rdBytes: count * 40_960n, wrReq: count * 5n, wrBytes: count * 20_480n };
}

export interface NicNumbers {
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
}

export function nicNumbers(host: HostState, domain: DomainRecord): NicNumbers {
  const count = BigInt(Math.floor(seconds(host, domain)));
  return { rxBytes: count * 1_000n, rxPackets: count * 8n, txBytes: count * 600n, txPackets: count * 6n };
}
