/** Which events libvirt has, by what they are about, and how each is asked for. */
import type { QemuEvents } from "../protocol/qemu-types.gen.js";
import type { RemoteEvents, RemoteProcedures } from "../protocol/remote-types.gen.js";

/** How a family's events are asked for: the number of each in libvirt's API, and the message that brings it. */
interface EventFamilyShape {
  readonly register: keyof RemoteProcedures;
  readonly deregister: keyof RemoteProcedures;
  /** The argument of `register` that names one object. */
  readonly object: string;
  readonly events: Readonly<Record<string, readonly [id: number, message: keyof RemoteEvents]>>;
}

/** The families of events that are about one kind of object each. */
export const EVENT_FAMILIES = {
  domain: {
    register: "connectDomainEventCallbackRegisterAny",
    deregister: "connectDomainEventCallbackDeregisterAny",
    object: "dom",
    events: {
      lifecycle: [0, "domainEventCallbackLifecycle"],
      reboot: [1, "domainEventCallbackReboot"],
      rtcChange: [2, "domainEventCallbackRtcChange"],
      watchdog: [3, "domainEventCallbackWatchdog"],
      ioError: [4, "domainEventCallbackIoError"],
      graphics: [5, "domainEventCallbackGraphics"],
      ioErrorReason: [6, "domainEventCallbackIoErrorReason"],
      controlError: [7, "domainEventCallbackControlError"],
      blockJob: [8, "domainEventCallbackBlockJob"],
      diskChange: [9, "domainEventCallbackDiskChange"],
      trayChange: [10, "domainEventCallbackTrayChange"],
      pmWakeup: [11, "domainEventCallbackPmWakeup"],
      pmSuspend: [12, "domainEventCallbackPmSuspend"],
      balloonChange: [13, "domainEventCallbackBalloonChange"],
      pmSuspendDisk: [14, "domainEventCallbackPmSuspendDisk"],
      deviceRemoved: [15, "domainEventCallbackDeviceRemoved"],
      blockJob2: [16, "domainEventBlockJob2"],
      tunable: [17, "domainEventCallbackTunable"],
      agentLifecycle: [18, "domainEventCallbackAgentLifecycle"],
      deviceAdded: [19, "domainEventCallbackDeviceAdded"],
      migrationIteration: [20, "domainEventCallbackMigrationIteration"],
      jobCompleted: [21, "domainEventCallbackJobCompleted"],
      deviceRemovalFailed: [22, "domainEventCallbackDeviceRemovalFailed"],
      metadataChange: [23, "domainEventCallbackMetadataChange"],
      blockThreshold: [24, "domainEventBlockThreshold"],
      memoryFailure: [25, "domainEventMemoryFailure"],
      memoryDeviceSizeChange: [26, "domainEventMemoryDeviceSizeChange"],
      nicMacChange: [27, "domainEventNicMacChange"],
    },
  },
  network: {
    register: "connectNetworkEventRegisterAny",
    deregister: "connectNetworkEventDeregisterAny",
    object: "net",
    events: { lifecycle: [0, "networkEventLifecycle"], metadataChange: [1, "networkEventCallbackMetadataChange"] },
  },
  storagePool: {
    register: "connectStoragePoolEventRegisterAny",
    deregister: "connectStoragePoolEventDeregisterAny",
    object: "pool",
    events: { lifecycle: [0, "storagePoolEventLifecycle"], refresh: [1, "storagePoolEventRefresh"] },
  },
  nodeDevice: {
    register: "connectNodeDeviceEventRegisterAny",
    deregister: "connectNodeDeviceEventDeregisterAny",
    object: "dev",
    events: { lifecycle: [0, "nodeDeviceEventLifecycle"], update: [1, "nodeDeviceEventUpdate"] },
  },
  secret: {
    register: "connectSecretEventRegisterAny",
    deregister: "connectSecretEventDeregisterAny",
    object: "secret",
    events: { lifecycle: [0, "secretEventLifecycle"], valueChanged: [1, "secretEventValueChanged"] },
  },
} as const satisfies Readonly<Record<string, EventFamilyShape>>;

type Families = typeof EVENT_FAMILIES;

/** What events are about. */
export type EventFamily = keyof Families;

/** The events of a family. */
export type EventName<F extends EventFamily> = keyof Families[F]["events"] & string;

type MessageOf<F extends EventFamily, N extends EventName<F>> = Families[F]["events"][N] extends readonly [
  number,
  infer M extends keyof RemoteEvents,
]
  ? RemoteEvents[M]
  : never;

/** Some messages wrap what older ones brought; here it stands beside the rest. */
type Flat<M> = M extends { readonly msg: infer Inner } ? Omit<M, "callbackId" | "msg"> & Inner : Omit<M, "callbackId">;

/** What an event says. */
export type EventData<F extends EventFamily, N extends EventName<F>> = Flat<MessageOf<F, N>>;

/** The object that a family's events can be limited to: a domain, a network… */
export type EventObject<F extends EventFamily> = NonNullable<
  RemoteProcedures[Families[F]["register"]]["arguments"][Families[F]["object"] &
    keyof RemoteProcedures[Families[F]["register"]]["arguments"]]
>;

/** What an event of QEMU's monitor says. */
export type MonitorEventData = Omit<QemuEvents["domainMonitorEvent"], "callbackId">;

/** What the end of the daemon's own connection to a hypervisor says; `reason`: 0 error, 1 end of file, 2 keepalive, 3 client. */
export type ConnectionClosedData = RemoteEvents["connectEventConnectionClosed"];
