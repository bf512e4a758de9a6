import { chmod, mkdir, writeFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { canSendDescriptors, probeNetworkAccess } from "../../../src/kvm/network-access.js";
import { temporaryDirectory } from "../../lab/temporary-directory.js";

it("gives guests the kernel's help for their NICs only where its device opens for reading and writing", async () => {
  await using directory = await temporaryDirectory();
  const opener = (): readonly number[] => [];
  const device = directory.file("vhost-net");
  const sends = canSendDescriptors();
  const hotplugged = sends ? "descriptors" : "name";

  const without = { launch: { taps: "descriptors", vhost: false }, hotplug: { taps: hotplugged, vhost: false } };
  expect(probeNetworkAccess(opener, device)).toEqual(without);
  await mkdir(device);
  expect(probeNetworkAccess(opener, device)).toEqual(without);

  const there = directory.file("device");
  await writeFile(there, "");
  const kernel = { launch: { taps: "descriptors", vhost: true }, hotplug: { taps: hotplugged, vhost: sends } };
  expect(probeNetworkAccess(opener, there)).toEqual(kernel);
  await chmod(there, 0o400);
  // Root opens everything.
  expect(probeNetworkAccess(opener, there)).toEqual(process.getuid?.() === 0 ? kernel : without);
});
