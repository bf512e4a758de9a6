/** libvirt by objects: what a daemon holds as handles with methods, over a connection of its own or one that is given. */
import type { LibvirtClosure } from "./close-reason.js";
import { LibvirtConnection } from "./connection.js";
import type { LibvirtConnectionOptions } from "./connection-options.js";
import { makeHandle, methodContext } from "./objects/handles.js";
import type { ClientMethods } from "./objects/methods.gen.js";
import type { Domain, Interface, Network, NetworkPort, NodeDevice, NwFilter } from "./objects/methods.gen.js";
import type { DomainCheckpoint, DomainSnapshot, NwFilterBinding } from "./objects/methods.gen.js";
import type { Secret, StoragePool, StorageVolume } from "./objects/methods.gen.js";
import { methodsClass } from "./objects/object-handle.js";
import type { MethodContext } from "./objects/object-handle.js";
import type * as remote from "./protocol/remote-types.gen.js";
import type { LibvirtCallOptions } from "./window.js";

/** The handles by the kinds of objects, and what refers to them on the wire. */
export interface ObjectHandles {
  readonly Domain: { readonly handle: Domain; readonly reference: remote.RemoteDomain };
  readonly DomainSnapshot: { readonly handle: DomainSnapshot; readonly reference: remote.RemoteDomainSnapshot };
  readonly DomainCheckpoint: { readonly handle: DomainCheckpoint; readonly reference: remote.RemoteDomainCheckpoint };
  readonly Network: { readonly handle: Network; readonly reference: remote.RemoteNetwork };
  readonly NetworkPort: { readonly handle: NetworkPort; readonly reference: remote.RemoteNetworkPort };
  readonly StoragePool: { readonly handle: StoragePool; readonly reference: remote.RemoteStoragePool };
  readonly StorageVol: { readonly handle: StorageVolume; readonly reference: remote.RemoteStorageVol };
  readonly Secret: { readonly handle: Secret; readonly reference: remote.RemoteSecret };
  readonly NwFilter: { readonly handle: NwFilter; readonly reference: remote.RemoteNwFilter };
  readonly NwFilterBinding: { readonly handle: NwFilterBinding; readonly reference: remote.RemoteNwFilterBinding };
  readonly NodeDevice: { readonly handle: NodeDevice; readonly reference: remote.RemoteNodeDevice };
  readonly Interface: { readonly handle: Interface; readonly reference: remote.RemoteInterface };
}

const Methods = methodsClass<ClientMethods>("client");

/**
 * A client of one daemon.
 *
 * ```ts
 * await using client = await LibvirtClient.open("qemu:///system");
 * const domain = await client.lookupDomainByName("web1");
 * await domain.createWithFlags({ flags: ["startPaused"] });
 * const { state } = await domain.getState();
 * for (const each of await client.listAllDomains({ flags: ["active"] })) console.log(each.name);
 * ```
 *
 * - Methods are the C functions without `vir` and without what they belong to: `virDomainGetInfo` is `domain.getInfo()`,
 *   `virConnectListAllDomains` is `client.listAllDomains()`; where something is looked up, defined, created or restored the
 *   verb comes first, as in `client.lookupDomainByUuid(uuid)`.
 * - What a call can't do without stands first, in C's order; flags, what may be left out, `signal` and `deadlineMs` stand in
 *   the last argument.
 * - Flags are names of bits, or numbers made of the tables such as {@link DomainCreateFlags}.
 * - Typed parameters are objects. 64-bit numbers come as bigint, and may be given as numbers too.
 *
 * All methods throw what {@link LibvirtConnection.call} throws.
 */
export class LibvirtClient extends Methods implements AsyncDisposable {
  readonly connection: LibvirtConnection;
  readonly #context: MethodContext;

  /** @param connection which the client does not own more than its caller: `close()` ends it for both */
  constructor(connection: LibvirtConnection) {
    const context = methodContext(connection);
    super(context, {});
    this.connection = connection;
    this.#context = context;
  }

  /** Opens a connection for a client of its own; see {@link LibvirtConnection.open}. */
  static async open(uri?: string, options?: LibvirtConnectionOptions & LibvirtCallOptions): Promise<LibvirtClient> {
    return new LibvirtClient(await LibvirtConnection.open(uri, options));
  }

  /** The handle of an object whose reference is known, from an event or from earlier. The daemon is not asked. */
  handle<K extends keyof ObjectHandles>(kind: K, reference: ObjectHandles[K]["reference"]): ObjectHandles[K]["handle"] {
    return makeHandle(this.#context, kind, reference) as ObjectHandles[K]["handle"];
  }

  /** Resolves when the connection is over, with the reason. Never rejects. */
  get closed(): Promise<LibvirtClosure> {
    return this.connection.closed;
  }

  /** Ends the connection; see {@link LibvirtConnection.close}. */
  close(): Promise<void> {
    return this.connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
