/** What gives a host its own end in a guests' network. */

/** A network as interface drivers see it. */
export interface DriverNetwork {
  /** Uuid. */
  readonly id: string;
  /** 1 to 15 characters. */
  readonly bridge: string;
  /** Device that carries the network between hosts; absent: none does. */
  readonly parentInterface?: string;
  /** 1 to 4094; absent: the parent itself carries the network. */
  readonly vlan?: number;
  /** Bytes. */
  readonly mtu?: number;
}

export interface InterfaceDriverOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Nova's `LinuxNetInterfaceDriver`. All is idempotent; what fails leaves the host as it was. */
export interface InterfaceDriver {
  /** Name of the device that the host's addresses in the network belong on. @throws InvalidArgumentError */
  getDev(network: DriverNetwork): string;
  /** Makes the device, and returns its name. Rejects with `NetworkHostError`. */
  plug(network: DriverNetwork, macAddress: string, options?: InterfaceDriverOptions): Promise<string>;
  /** Takes the device away, and returns its name; success when it is not there. Rejects with `NetworkHostError`. */
  unplug(network: DriverNetwork, options?: InterfaceDriverOptions): Promise<string>;
}
