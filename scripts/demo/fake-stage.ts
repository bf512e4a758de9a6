/** The demo on the fake driver, for systems without QEMU: the same calls, errors and events, over a simulated host. */
import { FakeDriver, FakeWorld } from "hypervise/fake";
import type { AttachedDisk, InstanceSpec, Vif, VolumeConnection } from "hypervise";
import type { Sighting, Stage } from "./stage.js";

export class FakeStage implements Stage {
  readonly title = "FakeDriver on a simulated host";
  readonly driver: FakeDriver;
  readonly spec: InstanceSpec;
  readonly nic: Vif;
  readonly volume: VolumeConnection;
  readonly searched = [
    "the simulated host's ledger: guests, disks, ports, filters, volumes, secrets, records",
    "its invariants",
  ];
  readonly kept: readonly string[] = [];
  readonly #world = new FakeWorld({ seed: 1 });

  constructor() {
    const world = this.#world;
    this.driver = new FakeDriver({ world });
    const port = { type: "user", network: { id: "first" }, fixedIps: [{ address: "10.0.2.15" }] } as const;
    const first = world.vif();
    const second = world.vif();
    this.spec = world.spec({ name: "demo", vifs: [{ ...port, id: first.id, macAddress: first.macAddress }] });
    this.nic = {
      ...port,
      id: second.id,
      macAddress: second.macAddress,
      network: { id: "second" },
      fixedIps: [{ address: "10.0.3.15" }],
    };
    this.volume = world.volumes.create({ sizeBytes: 64 * 1024 * 1024 });
  }

  async prepare(): Promise<readonly string[]> {
    await this.driver.initHost();
    return ["a host that is simulated; nothing on this machine is touched"];
  }

  async follow(): Promise<void> {}

  async guestIsUp(signal: AbortSignal): Promise<string> {
    const { stdout } = await this.driver.execInGuest(this.spec, ["hostname"], { signal });
    return `its name is ${Buffer.from(stdout).toString().trim()}`;
  }

  async guestHasAddress(nic: number, signal: AbortSignal): Promise<string> {
    const found = (await this.#interfaces(signal)).find(({ name }) => name === `eth${nic}`);
    const address = found?.addresses.find((text) => !text.includes(":"));
    if (address === undefined) throw new Error(`the guest has no address on eth${nic}`);
    return `eth${nic} ${address}`;
  }

  async guestHasSeen(what: Sighting, signal: AbortSignal): Promise<string> {
    const [device, change] = what.split(" ");
    const expected = change === "added" ? 2 : 1;
    const { disks, nics } = this.#world.guest(this.spec.uuid).definition;
    const names = device === "disk" ? disks.map(({ deviceName }) => deviceName) : nics.map(({ id }) => id);
    if (names.length !== expected) throw new Error(`the guest has not seen: ${what}`);
    return device === "disk"
      ? `it has ${names.join(", ")}`
      : `it has ${(await this.#interfaces(signal)).map(({ name }) => name).join(", ")}`;
  }

  async writeInGuest(disk: AttachedDisk, text: string): Promise<void> {
    this.#world.guest(this.spec.uuid).write(disk.id, text);
  }

  async readOnHost(length: number): Promise<string> {
    return (this.#world.volumes.file(this.volume.volumeId)?.content.at(-1) ?? "").slice(0, length);
  }

  async showOnDisplay(): Promise<void> {}

  async leftovers(): Promise<readonly string[]> {
    const ledger = this.#world.ledger().map(({ place, kind, id }) => `${place}: ${kind} ${id}`);
    return [...ledger, ...this.#world.checkInvariants()];
  }

  async dispose(): Promise<void> {}

  async #interfaces(
    signal: AbortSignal,
  ): Promise<readonly { readonly name: string; readonly addresses: readonly string[] }[]> {
    return this.driver.getGuestInterfaces(this.spec, { signal });
  }
}
