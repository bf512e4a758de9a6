/** What we need of a libvirt that filters. */
import type { FilterDocument } from "./filter-document.js";

/** A filter that libvirt has. */
export interface KnownFilter {
  readonly name: string;
  readonly uuid: string;
}

/** A port that libvirt applies a filter to. */
export interface PortBinding {
  readonly deviceName: string;
  readonly filter: string;
  readonly macAddress: string;
  readonly owner: { readonly uuid: string; readonly name: string };
}

/** All reject with a `HyperviseError` of libvirt's client. */
export interface NwfilterHost {
  /** Loads what the other methods need. */
  open(): Promise<void>;
  /** As XML, for people; after `open`. */
  format(document: FilterDocument): string;
  filters(): Promise<readonly KnownFilter[]>;
  /** A filter's XML, with its uuid. */
  textOf(name: string): Promise<string>;
  /** The comment of the first rule about MAC addresses that has one. */
  markOf(name: string): Promise<string | undefined>;
  /** Makes a filter or replaces it; resolves when all ports that use it have the new rules. */
  define(document: FilterDocument, uuid: string | undefined): Promise<KnownFilter>;
  /** The same of a text that `textOf` has given. */
  restore(text: string): Promise<void>;
  /** Success when there is none. Resolves to false when a port, or another filter, uses it. */
  undefine(name: string): Promise<boolean>;
  bindings(): Promise<readonly { readonly deviceName: string; readonly filter: string }[]>;
  /** Resolves when the port has its rules. */
  bind(binding: PortBinding): Promise<void>;
  /** Success when there is none. */
  unbind(deviceName: string): Promise<void>;
  /** Ends a connection of our own. */
  close(): Promise<void>;
}
