/** What every daemon answers, whatever its drivers are: connections are opened and closed, and events asked for. */
import type { EventFamily, LibvirtProtocol } from "../../libvirt/rpc/index.js";
import { monitorMatcher } from "./event-registrations.js";
import type { FakeLibvirtCall, FakeLibvirtHandlers, UntypedHandler } from "./fake-call.js";
import { FakeLibvirtError } from "./fake-libvirt-error.js";
import type { LibvirtRpc } from "./libvirt-rpc.js";
import { ServedClient } from "./served-client.js";

const AUTH = { none: 0, polkit: 2 } as const;
/** `VIR_DRV_FEATURE_…` that libvirt 9.0's QEMU driver says yes to. */
const FEATURES: ReadonlySet<number> = new Set([3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const READ_ONLY = 1;

interface DaemonOptions {
  readonly authentication?: "none" | "polkit" | undefined;
  readonly version?: number | undefined;
}

export function defaultHandlers(rpc: LibvirtRpc, options: DaemonOptions): Readonly<Record<string, UntypedHandler>> {
  const { authentication = "none", version = 9_000_000 } = options;
  const opening: FakeLibvirtHandlers = {
    authList(_, call) {
      const client = servedClient(call);
      if (authentication === "none") client.authenticated = true;
      return { types: [AUTH[authentication]] };
    },
    authPolkit(_, call) {
      if (authentication !== "polkit") throw refused(45, 7, "authentication failed: unsupported authentication type");
      servedClient(call).authenticated = true;
      return { complete: 1 };
    },
    connectSupportsFeature: ({ feature }) => ({ supported: FEATURES.has(feature) ? 1 : 0 }),
    connectOpen({ name, flags }, call) {
      const client = servedClient(call);
      if (client.opened) throw refused(1, 7, "connection already open");
      client.opened = true;
      client.uri = name;
      client.readOnly = (flags & READ_ONLY) !== 0;
      return {};
    },
    connectClose(_, call) {
      // After the reply the daemon hangs up.
      setImmediate(() => call.client.hangUp());
      return {};
    },
    connectGetLibVersion: () => ({ libVer: BigInt(version) }),
    connectGetUri: (_, { client }) => ({ uri: client.uri ?? "qemu:///system" }),
    connectRegisterCloseCallback: (_, call) => setCloseCallback(call, true),
    connectUnregisterCloseCallback: (_, call) => setCloseCallback(call, false),
    connectDomainQemuMonitorEventRegister({ dom, event, flags }, call) {
      return { callbackId: servedClient(call).events.addMonitor(dom, monitorMatcher(event, flags)) };
    },
    connectDomainQemuMonitorEventDeregister({ callbackId }, call) {
      if (!servedClient(call).events.removeMonitor(callbackId)) throw noCallback(callbackId);
      return {};
    },
  };
  return { ...(opening as Readonly<Record<string, UntypedHandler>>), ...eventHandlers(rpc) };
}

/** Registering and deregistering, for each family. */
function eventHandlers(rpc: LibvirtRpc): Readonly<Record<string, UntypedHandler>> {
  return Object.fromEntries(
    (Object.keys(rpc.EVENT_FAMILIES) as EventFamily[]).flatMap((family): [string, UntypedHandler][] => {
      const { register, deregister, object, events } = rpc.EVENT_FAMILIES[family];
      const count = Object.keys(events).length;
      const add: UntypedHandler = (args, call) => {
        const { eventId, [object]: about } = args as { readonly eventId: number; readonly [name: string]: unknown };
        if (eventId < 0 || eventId >= count) throw refused(1, 7, `unsupported event ID ${eventId}`);
        return { callbackId: servedClient(call).events.add(family, eventId, about as object | undefined) };
      };
      const remove: UntypedHandler = (args, call) => {
        const { callbackId } = args as { readonly callbackId: number };
        if (!servedClient(call).events.remove(family, callbackId)) throw noCallback(callbackId);
        return {};
      };
      return [
        [register, add],
        [deregister, remove],
      ];
    }),
  );
}

function setCloseCallback(call: FakeLibvirtCall, wanted: boolean): LibvirtProtocol.Nothing {
  const { events } = servedClient(call);
  if (events.closeCallback === wanted)
    throw refused(1, 7, wanted ? "A close callback is already registered" : "A close callback is not registered");
  events.closeCallback = wanted;
  return {};
}

/** Handlers are called with the clients of their own server alone. */
function servedClient({ client }: FakeLibvirtCall): ServedClient {
  if (client instanceof ServedClient) return client;
  throw new TypeError("the call comes from no client of this server");
}

function noCallback(id: number): FakeLibvirtError {
  return refused(1, 7, `callback ID ${id} is not registered`);
}

function refused(code: number, domain: number, message: string): FakeLibvirtError {
  return new FakeLibvirtError({ code, domain, message });
}
