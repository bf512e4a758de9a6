/** libvirt's filters through our client of its, which is loaded when it is first needed. */
import type { LibvirtCallOptions, LibvirtClient, LibvirtConnection } from "../../libvirt/rpc/index.js";
import type * as Rpc from "../../libvirt/rpc/index.js";
import type * as Xml from "../../libvirt/xml/index.js";
import type { FilterDocument } from "./filter-document.js";
import type { KnownFilter, NwfilterHost, PortBinding } from "./nwfilter-host.js";

/** The daemon: a URI, which the driver opens a connection of its own to, or a connection that stays its giver's. */
export type LibvirtSource = string | LibvirtClient | LibvirtConnection;

interface Loaded {
  readonly rpc: typeof Rpc;
  readonly xml: typeof Xml;
}

export class LibvirtNwfilterHost implements NwfilterHost {
  readonly #source: LibvirtSource;
  readonly #options: LibvirtCallOptions;
  #loading: Promise<Loaded> | undefined;
  #loaded: Loaded | undefined;
  #client: Promise<LibvirtClient> | undefined;

  constructor(source: LibvirtSource, callMs: number) {
    this.#source = source;
    this.#options = { deadlineMs: callMs };
  }

  async open(): Promise<void> {
    await this.#load();
  }

  format(document: FilterDocument): string {
    return this.#text(document, undefined);
  }

  async filters(): Promise<readonly KnownFilter[]> {
    const client = await this.#connect();
    return (await client.listAllNwFilters(this.#options)).map(({ name, uuid }) => ({ name, uuid }));
  }

  async textOf(name: string): Promise<string> {
    const client = await this.#connect();
    return (await client.lookupNwFilterByName(name, this.#options)).getXmlDesc(this.#options);
  }

  async markOf(name: string): Promise<string | undefined> {
    const text = await this.textOf(name);
    const { xml } = await this.#load();
    return xml.parseNwFilterXml(text).rule?.find(({ mac }) => mac?.comment !== undefined)?.mac?.comment;
  }

  async define(document: FilterDocument, uuid: string | undefined): Promise<KnownFilter> {
    const client = await this.#connect();
    const defined = await client.defineNwFilterXml(this.#text(document, uuid), this.#options);
    return { name: defined.name, uuid: defined.uuid };
  }

  async restore(text: string): Promise<void> {
    await (await this.#connect()).defineNwFilterXml(text, this.#options);
  }

  async undefine(name: string): Promise<boolean> {
    const client = await this.#connect();
    try {
      await (await client.lookupNwFilterByName(name, this.#options)).undefine(this.#options);
      return true;
    } catch (error) {
      if (await this.#isKind(error, "nwFilterNotFound")) return true;
      if (await this.#isKind(error, "invalidState")) return false;
      throw error;
    }
  }

  async bindings(): Promise<readonly { readonly deviceName: string; readonly filter: string }[]> {
    const client = await this.#connect();
    const found = await client.listAllNwFilterBindings(this.#options);
    return found.map(({ portdev, filtername }) => ({ deviceName: portdev, filter: filtername }));
  }

  async bind({ deviceName, filter, macAddress, owner }: PortBinding): Promise<void> {
    const client = await this.#connect();
    const { xml } = await this.#load();
    const text = xml.formatNwFilterBindingXml({
      owner: { name: owner.name, uuid: owner.uuid },
      portdev: { name: deviceName },
      mac: { address: macAddress },
      filterref: xml.filterReferenceXml({ name: filter }),
    });
    await client.createNwFilterBindingXml(text, this.#options);
  }

  async unbind(deviceName: string): Promise<void> {
    const client = await this.#connect();
    try {
      await (await client.lookupNwFilterBindingByPortDev(deviceName, this.#options)).delete(this.#options);
    } catch (error) {
      if (!(await this.#isKind(error, "nwFilterBindingNotFound"))) throw error;
    }
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined && typeof this.#source === "string") await (await client).close();
  }

  async #isKind(error: unknown, kind: string): Promise<boolean> {
    const { rpc } = await this.#load();
    return rpc.isLibvirtError(error) && error.kind === kind;
  }

  #text(document: FilterDocument, uuid: string | undefined): string {
    if (this.#loaded === undefined) throw new TypeError("libvirt's XML was not loaded");
    const { formatNwFilterXml, nwFilterXml } = this.#loaded.xml;
    return formatNwFilterXml(nwFilterXml({ ...document, uuid }));
  }

  #load(): Promise<Loaded> {
    this.#loading ??= Promise.all([import("../../libvirt/rpc/index.js"), import("../../libvirt/xml/index.js")]).then(
      ([rpc, xml]) => (this.#loaded = { rpc, xml }),
    );
    return this.#loading;
  }

  /** Our own connection is made again when it has ended. */
  #connect(): Promise<LibvirtClient> {
    if (this.#client !== undefined) return this.#client;
    const opening = this.#open();
    this.#client = opening;
    const forget = (): void => {
      if (this.#client === opening) this.#client = undefined;
    };
    opening.then(({ closed }) => closed).then(forget, forget);
    return opening;
  }

  async #open(): Promise<LibvirtClient> {
    const { rpc } = await this.#load();
    const source = this.#source;
    if (typeof source === "string") return rpc.LibvirtClient.open(source, this.#options);
    return source instanceof rpc.LibvirtConnection ? new rpc.LibvirtClient(source) : source;
  }
}
