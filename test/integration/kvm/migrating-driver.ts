// A KVM driver for migrations between directories: its instances' disks are on storage that all of them share.
import { dirname, join } from "node:path";
import { KvmDriver } from "../../../src/kvm/index.js";
import { UserNetworkPlugger } from "../../../src/network/index.js";
import { DirectoryImageStore, LocalDiskBackend } from "../../../src/storage/index.js";

export async function openMigratingDriver(directory: string): Promise<KvmDriver> {
  const shared = (name: string): string => join(dirname(directory), name);
  const driver = new KvmDriver({
    stateDirectory: directory,
    accelerator: "tcg",
    migration: { transport: "unix", copy: "running" },
    collaborators: {
      images: new DirectoryImageStore({ directory: shared("images") }),
      disks: new LocalDiskBackend({ directory: shared("disks") }),
      vifs: new UserNetworkPlugger(),
    },
  });
  await driver.initHost();
  return driver;
}
