/** Brings an orchestrator's own image service and network agent to a driver; the driver does the rest. */
import { ImageNotFoundError } from "hypervise";
import type { ImageMetadata, ImageStore, LocalImage, TransferOptions, Vif, VifBackend, VifPlugger } from "hypervise";
import { FakeDriver, createFakeParts, fakeSpec } from "hypervise/fake";

/** Puts a catalogue of one's own in front of another store: tenants name images, the store knows ids. */
class CatalogueImageStore implements ImageStore {
  readonly #names = new Map([["our-linux", "cirros"]]);
  readonly #store: ImageStore;

  constructor(store: ImageStore) {
    this.#store = store;
  }

  async describe(imageId: string, options?: TransferOptions): Promise<ImageMetadata> {
    return { ...(await this.#store.describe(this.#idOf(imageId), options)), id: imageId };
  }
  async fetch(imageId: string, options?: TransferOptions): Promise<LocalImage> {
    console.log(`images: fetch ${imageId}`);
    return { ...(await this.#store.fetch(this.#idOf(imageId), options)), id: imageId };
  }
  upload(metadata: ImageMetadata, path: string, options?: TransferOptions): Promise<ImageMetadata> {
    return this.#store.upload(metadata, path, options);
  }
  delete(imageId: string): Promise<void> {
    return this.#store.delete(this.#idOf(imageId));
  }
  isCached(imageId: string): Promise<boolean> {
    return this.#store.isCached(this.#idOf(imageId));
  }
  ageCache(inUse: ReadonlySet<string>, unusedForMs: number): Promise<readonly string[]> {
    return this.#store.ageCache(new Set([...inUse].map((id) => this.#names.get(id) ?? id)), unusedForMs);
  }

  #idOf(name: string): string {
    const id = this.#names.get(name);
    if (id === undefined) throw new ImageNotFoundError(`the catalogue has no image ${name}`);
    return id;
  }
}

/** Asks a network agent for each port. A repeated call must succeed, and unplugging what is not plugged too. */
class AgentVifPlugger implements VifPlugger {
  readonly ports = new Map<string, string>();

  validate(): void {}

  async plug(vif: Vif, instanceUuid: string): Promise<VifBackend> {
    this.ports.set(vif.id, instanceUuid);
    console.log(`network: plugged ${vif.macAddress}`);
    return { type: "tap", deviceName: `tap${vif.id.slice(0, 11)}`, bridge: "br-int", queues: vif.queues ?? 1 };
  }

  async unplug(vif: Vif): Promise<void> {
    if (this.ports.delete(vif.id)) console.log(`network: unplugged ${vif.macAddress}`);
  }
}

const { collaborators, world, host } = createFakeParts();
const vifs = new AgentVifPlugger();
const driver = new FakeDriver({
  world,
  host: host.name,
  collaborators: { images: new CatalogueImageStore(collaborators.images), vifs },
});
await driver.initHost();

const { instance } = await driver.spawn(fakeSpec({ imageId: "our-linux" }));
console.log(`state: ${(await driver.getInfo(instance)).state}`);

// Whatever fails, the ports are given back: the image is asked for after the spec is checked and before anything is plugged.
await driver.spawn(fakeSpec({ imageId: "their-linux" })).catch((error: unknown) => console.log(String(error)));

await driver.destroy(instance);
await driver.close();
if (vifs.ports.size > 0) throw new Error("a port was left plugged");
