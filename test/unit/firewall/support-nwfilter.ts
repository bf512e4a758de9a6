/** A libvirtd that keeps filters and bindings, and refuses what a real one refuses, at the other end of a real connection. */
import { randomUUID } from "node:crypto";
import type { CommandRunner } from "../../../src/host/index.js";
import { LibvirtClient } from "../../../src/libvirt/rpc/index.js";
import type { LibvirtConnection } from "../../../src/libvirt/rpc/index.js";
import { formatNwFilterXml, parseNwFilterBindingXml, parseNwFilterXml } from "../../../src/libvirt/xml/index.js";
import type { NwFilterXml } from "../../../src/libvirt/xml/index.js";
import { connectTo, FakePeer } from "../libvirt/support/fake-peer.js";

interface Reference {
  readonly name: string;
  readonly uuid: string;
}

const DOMAIN = 33;
const CODES = { operationFailed: 9, operationInvalid: 55, noFilter: 62, noBinding: 102, internal: 1 } as const;

export class FakeNwfilterDaemon {
  readonly peer = new FakePeer();
  readonly filters = new Map<string, { readonly uuid: string; readonly text: string }>();
  readonly bindings = new Map<string, string>();
  /** What was changed, in order: `define x`, `undefine x`, `bind lo x`, `unbind lo`. */
  readonly changes: string[] = [];
  /** Filters that are used by somebody else, by how many more tries. */
  readonly busy = new Map<string, number>();
  /** Changes that are refused. */
  refuses: (change: string) => boolean = () => false;
  client!: LibvirtClient;
  #connection!: LibvirtConnection;

  static async start(): Promise<FakeNwfilterDaemon> {
    const daemon = new FakeNwfilterDaemon();
    daemon.#answer();
    daemon.#connection = await connectTo(daemon.peer);
    daemon.client = new LibvirtClient(daemon.#connection);
    return daemon;
  }

  get connection(): LibvirtConnection {
    return this.#connection;
  }

  filter(name: string): NwFilterXml {
    return parseNwFilterXml(this.filters.get(name)?.text ?? "<filter/>");
  }

  /** What a filter refers to. */
  references(name: string): readonly string[] {
    return (this.filter(name).filterref ?? []).flatMap(({ filter }) => filter ?? []);
  }

  #answer(): void {
    const refuse = (code: number): Error => Object.assign(new Error("refused"), { code });
    const on = <A>(name: string, answer: (args: A) => unknown): void => {
      this.peer.on(name, (args, frame) => {
        try {
          return answer(args as A);
        } catch (error) {
          this.peer.refuse(frame, { domain: DOMAIN, code: (error as { code?: number }).code ?? CODES.internal });
          return undefined;
        }
      });
    };
    const change = (text: string): void => {
      if (this.refuses(text)) throw refuse(CODES.internal);
      this.changes.push(text);
    };
    const found = (name: string): Reference => {
      const filter = this.filters.get(name);
      if (filter === undefined) throw refuse(CODES.noFilter);
      return { name, uuid: filter.uuid };
    };
    const isUsed = (name: string): boolean => {
      const uses = (other: string): boolean => other === name || this.references(other).some(uses);
      return [...this.bindings.values()].some(uses);
    };
    on("connectListAllNwFilters", () => {
      const filters = [...this.filters].map(([name, { uuid }]) => ({ name, uuid }));
      return { filters, ret: filters.length };
    });
    on("nwFilterLookupByName", ({ name }: { name: string }) => ({ nwFilter: found(name) }));
    on("nwFilterGetXmlDesc", ({ nwFilter }: { nwFilter: Reference }) => ({
      xml: this.filters.get(found(nwFilter.name).name)?.text ?? "",
    }));
    on("nwFilterDefineXml", ({ xml }: { xml: string }) => {
      const given = parseNwFilterXml(xml);
      const { name = "", uuid } = given;
      const former = this.filters.get(name);
      change(`define ${name}`);
      if (former !== undefined && former.uuid !== uuid) throw refuse(CODES.operationFailed);
      for (const { filter = "" } of given.filterref ?? []) found(filter);
      const own = uuid ?? randomUUID();
      this.filters.set(name, { uuid: own, text: formatNwFilterXml({ ...given, uuid: own }) });
      return { nwFilter: { name, uuid: own } };
    });
    on("nwFilterUndefine", ({ nwFilter: { name } }: { nwFilter: Reference }) => {
      found(name);
      const tries = this.busy.get(name) ?? 0;
      this.busy.set(name, tries - 1);
      if (isUsed(name) || tries > 0) throw refuse(CODES.operationInvalid);
      change(`undefine ${name}`);
      this.filters.delete(name);
      return {};
    });
    on("connectListAllNwFilterBindings", () => {
      const bindings = [...this.bindings].map(([portdev, filtername]) => ({ portdev, filtername }));
      return { bindings, ret: bindings.length };
    });
    on("nwFilterBindingCreateXml", ({ xml }: { xml: string }) => {
      const { portdev, filterref } = parseNwFilterBindingXml(xml);
      const [device, filter] = [portdev?.name ?? "", filterref?.filter ?? ""];
      change(`bind ${device} ${found(filter).name}`);
      this.bindings.set(device, filter);
      return { nwFilter: { portdev: device, filtername: filter } };
    });
    on("nwFilterBindingLookupByPortDev", ({ name }: { name: string }) => {
      const filter = this.bindings.get(name);
      if (filter === undefined) throw refuse(CODES.noBinding);
      return { nwFilter: { portdev: name, filtername: filter } };
    });
    on("nwFilterBindingDelete", ({ nwFilter: { portdev } }: { nwFilter: { portdev: string } }) => {
      change(`unbind ${portdev}`);
      this.bindings.delete(portdev);
      return {};
    });
  }
}

/** Commands that all succeed and say nothing. */
export function quietCommands(): CommandRunner & { readonly calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    run(argv) {
      calls.push(argv.join(" "));
      return Promise.resolve({ stdout: "", stderr: "", exitCode: 0 });
    },
  };
}
