// A libvirtd of a test's own with what a LibvirtDriver needs beside it: a state directory and images of the test guest.
import { join } from "node:path";
import { LibvirtDriver } from "../../src/libvirt/driver/index.js";
import type { LibvirtDriverOptions } from "../../src/libvirt/driver/index.js";
import { DirectoryImageStore } from "../../src/storage/index.js";
import { startLibvirtd } from "./libvirtd.js";
import type { LabLibvirtd, LabLibvirtdOptions } from "./libvirtd.js";
import { temporaryDirectory } from "./temporary-directory.js";
import { testGuest } from "./guest.js";

export interface LabLibvirtHost extends AsyncDisposable {
  readonly daemon: LabLibvirtd;
  readonly directory: string;
  /** The directory of volumes of type `local`. */
  readonly volumeDirectory: string;
  /** Has the image `guest`. */
  readonly images: DirectoryImageStore;
  /** Memory that the test guest needs. */
  readonly memoryMiB: number;
  /** A driver that is not initialised; each call gives another, on the same state. */
  open(options?: Partial<LibvirtDriverOptions>): LibvirtDriver;
  remove(): Promise<void>;
}

/** Needs root. On failure nothing is left. */
export async function startLibvirtHost(options: LabLibvirtdOptions = {}): Promise<LabLibvirtHost> {
  const directory = await temporaryDirectory("lh-");
  try {
    const guest = await testGuest();
    const images = new DirectoryImageStore({ directory: directory.file("images") });
    await images.import({ id: "guest", format: "qcow2", path: guest.disk });
    const daemon = await startLibvirtd({
      ...options,
      qemuConfig: ['stdio_handler = "file"', ...(options.qemuConfig ?? [])],
    });
    const volumeDirectory = join(directory.path, "volumes");
    const remove = async (): Promise<void> => {
      await daemon.remove();
      await directory.remove();
    };
    return {
      daemon,
      directory: directory.path,
      volumeDirectory,
      images,
      memoryMiB: guest.memoryMiB,
      open: ({ collaborators, ...rest } = {}) =>
        new LibvirtDriver({
          stateDirectory: join(directory.path, "state"),
          virtType: "qemu",
          uri: daemon.uri("qemu"),
          volumeDirectories: [volumeDirectory],
          collaborators: { images, ...collaborators },
          ...rest,
        }),
      remove,
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await directory.remove();
    throw error;
  }
}
