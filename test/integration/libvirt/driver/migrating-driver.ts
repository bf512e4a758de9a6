// A driver of one of two hosts between which guests go, in this process or another.
import { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import type { LibvirtDriverOptions } from "../../../../src/libvirt/driver/index.js";
import { UserNetworkPlugger } from "../../../../src/network/index.js";
import { DirectoryImageStore, LocalDiskBackend } from "../../../../src/storage/index.js";

/** What a driver of one of the hosts is opened with, in this process or another. */
export interface HostSettings {
  readonly stateDirectory: string;
  readonly images: string;
  readonly disks: string;
  readonly uri: string;
}

export function openMigratingDriver(
  settings: HostSettings,
  options: Partial<LibvirtDriverOptions> = {},
): LibvirtDriver {
  const { stateDirectory, images, disks, uri } = settings;
  return new LibvirtDriver({
    stateDirectory,
    virtType: "qemu",
    uri,
    migration: { connectionUri: uri, address: "127.0.0.1", listenAddress: "127.0.0.1", copy: "running" },
    collaborators: {
      images: new DirectoryImageStore({ directory: images }),
      disks: new LocalDiskBackend({ directory: disks }),
      vifs: new UserNetworkPlugger(),
    },
    ...options,
  });
}
