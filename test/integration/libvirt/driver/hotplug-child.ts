// A driver's process that dies at a chosen call of libvirt's while a device comes or goes: run by devices-long.test.ts as
// `node --import tsx hotplug-child.ts REQUEST`.
import { Socket } from "node:net";
import type { InstanceRef } from "../../../../src/driver/index.js";
import { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import { procedureNumbered } from "../../../../src/libvirt/rpc/procedures.js";
import { DirectoryImageStore } from "../../../../src/storage/index.js";
import type { VolumeConnection } from "../../../../src/storage/index.js";

export interface HotplugRequest {
  readonly stateDirectory: string;
  readonly volumeDirectory: string;
  readonly images: string;
  readonly uri: string;
  readonly instance: InstanceRef;
  readonly connection: VolumeConnection;
  readonly act: "attachVolume" | "detachVolume";
  /** It dies when the call has left. */
  readonly call: string;
  readonly nth: number;
}

const request = JSON.parse(process.argv[2] ?? "null") as HotplugRequest;

/** How many of the frames among the bytes are the call. */
function calls(bytes: unknown): number {
  if (!Buffer.isBuffer(bytes)) return 0;
  let found = 0;
  for (let at = 0; at + 16 <= bytes.length; at += Math.max(4, bytes.readUInt32BE(at)))
    if (procedureNumbered("remote", bytes.readUInt32BE(at + 12))?.name === request.call) found += 1;
  return found;
}

let made = 0;
const { write } = Socket.prototype;
Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
  const result = (write as (...given: unknown[]) => boolean).apply(this, args);
  made += calls(args[0]);
  // The daemon gets it, and answers nobody.
  if (made >= request.nth) process.kill(process.pid, "SIGKILL");
  return result;
};

const driver = new LibvirtDriver({
  stateDirectory: request.stateDirectory,
  virtType: "qemu",
  uri: request.uri,
  volumeDirectories: [request.volumeDirectory],
  collaborators: { images: new DirectoryImageStore({ directory: request.images }) },
});
await driver.initHost();
// What is done while it opens does not count.
made = 0;
await driver[request.act](request.instance, request.connection);
