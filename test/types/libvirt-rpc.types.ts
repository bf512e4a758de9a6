// What the compiler knows of libvirt's calls and objects. Nothing here runs.
import { expectTypeOf } from "vitest";
import { DomainCreateFlags, DomainState } from "../../src/libvirt/index.js";
import type {
  Domain,
  DomainSnapshot,
  LibvirtClient,
  LibvirtProtocol,
  LibvirtStream,
  RemoteEvents,
  RemoteProcedures,
  StorageVolume,
  TypedParameter,
} from "../../src/libvirt/index.js";

declare const client: LibvirtClient;
declare const domain: Domain;
declare const volume: StorageVolume;

// Procedures: arguments and results in C's names, 64-bit numbers as bigint, what may be absent optional.
expectTypeOf<RemoteProcedures["domainGetInfo"]["arguments"]>().toEqualTypeOf<{
  readonly dom: LibvirtProtocol.RemoteDomain;
}>();
expectTypeOf<RemoteProcedures["domainGetInfo"]["result"]["cpuTime"]>().toEqualTypeOf<bigint>();
expectTypeOf<RemoteProcedures["connectOpen"]["arguments"]["name"]>().toEqualTypeOf<string | undefined>();
expectTypeOf<RemoteProcedures["domainSetMemoryParameters"]["arguments"]["params"]>().toEqualTypeOf<
  readonly TypedParameter[]
>();
expectTypeOf<RemoteEvents["domainEventCallbackLifecycle"]["msg"]["event"]>().toEqualTypeOf<number>();
// @ts-expect-error -- events are not called
expectTypeOf<RemoteProcedures["domainEventLifecycle"]>();

// Objects: handles in the place of references, bare values, booleans.
expectTypeOf(client.lookupDomainByUuid("u")).resolves.toEqualTypeOf<Domain>();
expectTypeOf(client.listAllDomains({ flags: ["active"] })).resolves.toEqualTypeOf<readonly Domain[]>();
expectTypeOf(domain.isActive()).resolves.toEqualTypeOf<boolean>();
expectTypeOf(domain.getMaxMemory()).resolves.toEqualTypeOf<bigint>();
expectTypeOf(domain.createSnapshotXml("<domainsnapshot/>")).resolves.toEqualTypeOf<DomainSnapshot>();
expectTypeOf(volume.download(0, 0, { dedicated: true })).resolves.toEqualTypeOf<LibvirtStream>();
expectTypeOf(domain.shutdown()).resolves.toEqualTypeOf<void>();
expectTypeOf(client.handle("Domain", { name: "a", uuid: "b", id: 1 })).toEqualTypeOf<Domain>();

// Flags: names of the call's own enumeration, or numbers.
void domain.createWithFlags({ flags: ["startPaused", "startForceBoot"], signal: AbortSignal.timeout(1) });
void domain.createWithFlags({ flags: DomainCreateFlags.startPaused | DomainCreateFlags.startValidate });
void domain.getMemoryParameters({ flags: ["live"] });
// @ts-expect-error -- a flag of another call
void domain.createWithFlags({ flags: ["secure"] });
// @ts-expect-error -- virDomainDestroy has no flags
void domain.destroy({ flags: 1 });
// @ts-expect-error -- what is attached must be said
void domain.attachDevice();

// Typed parameters: plain values, of the types that libvirt demands where it knows the name.
void domain.setSchedulerParameters({ cpu_shares: 1024, vcpu_quota: -1n, anything: { type: "uint", value: 1 } });
void domain.setMemoryParameters([{ field: "hard_limit", type: "ullong", value: 1n }]);
void domain.setNumaParameters({ numa_nodeset: "0-1" });
// @ts-expect-error -- a nodeset is a text
void domain.setNumaParameters({ numa_nodeset: 1 });
void domain.getMemoryParameters().then(({ hard_limit, other }) => {
  expectTypeOf(hard_limit).toEqualTypeOf<bigint | undefined>();
  expectTypeOf(other).not.toBeAny();
});

// Enumerations are values and types.
const running: DomainState = DomainState.running;
expectTypeOf(running).toExtend<number>();
// @ts-expect-error -- libvirt has no such state
const wrong: DomainState = 99;
void wrong;
