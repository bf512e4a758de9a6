/** What `virConnectGetAllDomainStats` tells of one domain, as the counters of a guest. Pure. */
import type {
  DiskStatistics,
  GuestDefinition,
  GuestStatistics,
  InterfaceStatistics,
  PowerState,
  VcpuStatistics,
} from "../../../driver/index.js";
import type { TypedParameterValues } from "../../rpc/index.js";
import { diskTarget } from "../plan/index.js";
import type { DomainFamily } from "../plan/index.js";

const KIB_PER_MIB = 1024;

export interface CountedGuest {
  readonly definition: GuestDefinition;
  readonly family: DomainFamily;
  readonly state: PowerState;
  readonly uptimeMs?: number;
}

/** Counters that the domain has not are absent: of a guest that is not in memory, nearly all. */
export function guestStatistics(
  { definition, family, state, uptimeMs }: CountedGuest,
  values: TypedParameterValues,
): GuestStatistics {
  const read = reader(values);
  const mebibytes = (name: string): number | undefined => {
    const kib = read.big(name);
    return kib === undefined ? undefined : Math.round(Number(kib) / KIB_PER_MIB);
  };
  const maximumMiB = mebibytes("balloon.maximum") ?? definition.memoryMiB;
  const residentMiB = mebibytes("balloon.rss");
  const [all, left] = [mebibytes("balloon.available"), mebibytes("balloon.usable") ?? mebibytes("balloon.unused")];
  return {
    state,
    ...(uptimeMs === undefined ? {} : { uptimeMs }),
    vcpus: vcpusOf(read),
    memory: {
      maximumMiB,
      currentMiB: mebibytes("balloon.current") ?? maximumMiB,
      ...(residentMiB === undefined ? {} : { residentMiB }),
      ...(all === undefined || left === undefined || left > all ? {} : { usedMiB: all - left }),
    },
    disks: disksOf(read, definition, family),
    interfaces: interfacesOf(read, definition),
  };
}

interface Reader {
  big(name: string): bigint | undefined;
  text(name: string): string | undefined;
}

function reader(values: TypedParameterValues): Reader {
  return {
    big(name) {
      const value = Object.hasOwn(values, name) ? values[name] : undefined;
      if (typeof value === "bigint") return value;
      return typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : undefined;
    },
    text(name) {
      const value = Object.hasOwn(values, name) ? values[name] : undefined;
      return typeof value === "string" ? value : undefined;
    },
  };
}

/** vCPUs that are not plugged have no time. */
function vcpusOf(read: Reader): readonly VcpuStatistics[] {
  return numbersBelow(read.big("vcpu.maximum")).flatMap((id) => {
    const timeNs = read.big(`vcpu.${id}.time`);
    return timeNs === undefined ? [] : [{ id, timeNs }];
  });
}

function disksOf(read: Reader, { disks }: GuestDefinition, family: DomainFamily): readonly DiskStatistics[] {
  const ids = new Map(disks.map((disk) => [diskTarget(family, disk), disk.id]));
  return numbersBelow(read.big("block.count")).flatMap((index) => {
    // The images that a disk is based on stand in rows of their own, under the same name, where they are asked for.
    if ((read.big(`block.${index}.backingIndex`) ?? 0n) < 0n) return [];
    const id = ids.get(read.text(`block.${index}.name`) ?? "");
    const readRequests = read.big(`block.${index}.rd.reqs`);
    if (id === undefined || readRequests === undefined) return [];
    const count = (name: string): bigint => read.big(`block.${index}.${name}`) ?? 0n;
    const errors = read.big(`block.${index}.errors`);
    return [
      {
        id,
        readRequests,
        readBytes: count("rd.bytes"),
        writeRequests: count("wr.reqs"),
        writeBytes: count("wr.bytes"),
        ...(errors === undefined ? {} : { errors }),
      },
    ];
  });
}

/** By the device on the host; NICs without one are counted by nobody. */
function interfacesOf(read: Reader, { nics }: GuestDefinition): readonly InterfaceStatistics[] {
  const byDevice = new Map(
    nics.flatMap((nic) => ("deviceName" in nic.backend ? [[nic.backend.deviceName, nic] as const] : [])),
  );
  return numbersBelow(read.big("net.count")).flatMap((index) => {
    const nic = byDevice.get(read.text(`net.${index}.name`) ?? "");
    if (nic === undefined) return [];
    const count = (name: string): bigint => read.big(`net.${index}.${name}`) ?? 0n;
    const { id, macAddress } = nic;
    return [
      {
        id,
        macAddress,
        rxBytes: count("rx.bytes"),
        rxPackets: count("rx.pkts"),
        rxErrors: count("rx.errs"),
        rxDropped: count("rx.drop"),
        txBytes: count("tx.bytes"),
        txPackets: count("tx.pkts"),
        txErrors: count("tx.errs"),
        txDropped: count("tx.drop"),
      },
    ];
  });
}

/** No domain has more of anything. */
const MOST = 65_536n;

function numbersBelow(count = 0n): readonly number[] {
  return Array.from({ length: Number(count > MOST ? MOST : count) }, (_, number) => number);
}
