/** Migrations that a client drives step by step between two daemons, whichever they are, and what both said. */
import { isLibvirtError } from "../../../../src/libvirt/rpc/index.js";
import type { LibvirtConnection, LibvirtProtocol, TypedParameter } from "../../../../src/libvirt/rpc/index.js";
import { domainXml } from "./parity-scenarios.js";

type Domain = LibvirtProtocol.RemoteDomain;

export interface MigrationStage {
  readonly from: LibvirtConnection;
  readonly to: LibvirtConnection;
  /** The URI at which the destination takes memory, without a port. */
  readonly uri: string;
}

const LIVE = 1;
const PERSIST = 8;
const UNDEFINE_SOURCE = 16;
const PAUSED = 32;
const PROTECT = 256;
const UNSAFE = 512;
const NONE = new Uint8Array(0);
const NAME = "mover";

const text = (field: string, value: string): TypedParameter => ({ field, type: "string", value });

/** There, paused and persistent; back and taken back in the middle; then lost on its way. */
export async function migrateBothWays({ from, to, uri }: MigrationStage): Promise<readonly string[]> {
  const notes: string[] = [];
  const note = async (what: string, value: Promise<unknown>): Promise<void> => {
    notes.push(`${what}: ${await value.then(() => "done", refused)}`);
  };
  const state = async (what: string, libvirt: LibvirtConnection, dom: Domain): Promise<void> => {
    const result = libvirt.call("domainGetState", { dom, flags: 0 });
    notes.push(`${what}: ${await result.then((is) => `${is.state}/${is.reason}`, refused)}`);
  };
  const told = [await from.events("domain", ["lifecycle"]), await to.events("domain", ["lifecycle"])] as const;
  const jobs = await from.events("domain", ["jobCompleted"]);
  await from.call("domainDefineXml", { xml: domainXml(NAME) });
  const { dom } = await from.call("domainLookupByName", { name: NAME });
  await from.call("domainCreateWithFlags", { dom, flags: 1 });

  const flags = LIVE | UNSAFE | PROTECT | PERSIST | UNDEFINE_SOURCE | PAUSED;
  const begun = await from.call("domainMigrateBegin3Params", { dom, params: [], flags });
  await note("begin again", from.call("domainMigrateBegin3Params", { dom, params: [], flags }));
  const params = [text("destination_xml", begun.xml), text("migrate_uri", uri)];
  const ready = await to.call("domainMigratePrepare3Params", { params, cookieIn: begun.cookieOut, flags });
  const there = (await to.call("domainLookupByName", { name: NAME })).dom;
  await state("prepared there", to, there);
  await note("prepare again", to.call("domainMigratePrepare3Params", { params, cookieIn: begun.cookieOut, flags }));
  const target = [text("migrate_uri", ready.uriOut ?? "")];
  const perform = { dom, dconnuri: undefined, params: target, cookieIn: ready.cookieOut, flags };
  const sent = await from.call("domainMigratePerform3Params", perform);
  await state("performed here", from, dom);
  const finish = { params: [text("destination_name", NAME)], cookieIn: sent.cookieOut, flags, cancelled: 0 };
  const finished = await to.call("domainMigrateFinish3Params", finish);
  await state("finished there", to, finished.dom);
  await note("finish again", to.call("domainMigrateFinish3Params", finish));
  const confirm = { dom, params: [], cookieIn: finished.cookieOut, flags, cancelled: 0 };
  await note("confirm", from.call("domainMigrateConfirm3Params", confirm));
  await state("confirmed here", from, dom);
  const { value } = await jobs.next();
  notes.push(
    `job: ${value?.kind === "event" ? value.data.params.map(({ field }) => field).includes("memory_total") : ""}`,
  );

  // Back again, but the client changes its mind when the destination is ready.
  const back = { dom: finished.dom, params: [], flags: LIVE | UNSAFE | PROTECT };
  const second = await to.call("domainMigrateBegin3Params", back);
  const returning = [text("destination_xml", second.xml), text("migrate_uri", uri)];
  await from.call("domainMigratePrepare3Params", { params: returning, cookieIn: second.cookieOut, flags: back.flags });
  const cancelled = { params: finish.params, cookieIn: NONE, flags: back.flags, cancelled: 1 };
  await note("finish cancelled", from.call("domainMigrateFinish3Params", cancelled));
  await state("nothing is left here", from, dom);
  const kept = { dom: finished.dom, params: [], cookieIn: NONE, flags: back.flags, cancelled: 1 };
  await note("confirm cancelled", to.call("domainMigrateConfirm3Params", kept));
  await state("as it was there", to, finished.dom);
  await note("post-copy", to.call("domainMigrateStartPostCopy", { dom: finished.dom, flags: 0 }));
  await note("destroy", to.call("domainDestroy", { dom: finished.dom }));
  await note("undefine", to.call("domainUndefine", { dom: finished.dom }));

  await jobs.return();
  const lives = [await lifeOf(from, told[0]), await lifeOf(to, told[1])];
  return [...notes, `here: ${lives[0]}`, `there: ${lives[1]}`];
}

/** All events of life up to that of a marker of this function's own. */
async function lifeOf(
  libvirt: LibvirtConnection,
  events: AsyncIterable<{ readonly kind: string; readonly data?: unknown }>,
): Promise<string> {
  const marker = "b1a7e3c0-1111-4222-8333-944455566688";
  const { dom } = await libvirt.call("domainDefineXml", { xml: domainXml("marker", "", marker) });
  await libvirt.call("domainUndefine", { dom });
  const told: string[] = [];
  for await (const { data } of events) {
    const { event, detail, dom: about } = data as { event: number; detail: number; dom: Domain };
    if (about.uuid !== marker) told.push(`${event},${detail}`);
    else if (event === 1) break;
  }
  return told.join(" ");
}

function refused(error: unknown): string {
  if (!isLibvirtError(error)) throw error as Error;
  return `refused ${error.libvirtCode} by ${error.domain}`;
}
