/** Guests on a modular libvirt: virtqemud, with and without the daemons that it asks for secrets and for the host's devices. */
import { describe, expect, it } from "vitest";
import { findCommand } from "../../../../scripts/lib/system-packages.mjs";
import { Secret } from "../../../../src/core/index.js";
import type { GuestDisk } from "../../../../src/driver/index.js";
import { bootSector, run } from "../../../lab/index.js";
import { HypervisorLab, disk } from "./hypervisor-lab.js";

const T = { timeout: 180_000 };
/** Debian and what descends from it have none of them. */
const present = ["virtqemud", "virtsecretd", "virtnodedevd"].every((name) => findCommand(name) !== undefined);

async function disks(lab: HypervisorLab): Promise<readonly GuestDisk[]> {
  await lab.secrets.put("disk-key", Secret.of("open-sesame"));
  const path = lab.directory.file("luks");
  const key = ["--object", "secret,id=key,data=open-sesame", "-o", "key-secret=key,iter-time=10"];
  await run(["qemu-img", "create", "-q", "-f", "luks", ...key, path, "8M"]);
  const encryption = { format: "luks", secretId: "disk-key" } as const;
  return [
    disk("root", "vda", bootSector(), { readOnly: true, bootIndex: 0 }),
    disk("data", "vdb", path, { source: { type: "file", path, format: "raw", encryption } }),
  ];
}

describe.runIf(present)("a guest of virtqemud", () => {
  it("has the keys of its disks from virtsecretd, and outlives its daemon", T, async () => {
    await using lab = await HypervisorLab.open({}, { modular: ["virtsecretd", "virtnodedevd"] });
    const client = await lab.client();
    const guest = await lab.define({ disks: [...(await disks(lab))] });
    await guest.start();
    expect(await client.listAllSecrets()).toHaveLength(1);
    const found = await lab.hypervisor.hostDevices();
    expect(found.pci).toHaveLength((await client.listAllNodeDevices({ flags: ["capPciDev"] })).length);
    await lab.daemon.kill("SIGKILL");
    const lost = lab.events.indexOf(await lab.event((event) => event.type === "connection" && event.state === "lost"));
    await lab.daemon.start();
    await lab.event((event) => event.type === "connection" && lab.events.indexOf(event) > lost);
    expect((await guest.info()).state).toBe("running");
    await guest.kill();
    await lab.hypervisor.undefine(guest.uuid);
    expect(await client.listAllSecrets()).toEqual([]);
  });

  it("runs where nobody is beside it, if none of its disks has a key", T, async () => {
    await using lab = await HypervisorLab.open({}, { modular: [] });
    expect((await lab.hypervisor.hostDevices()).pci).toEqual([]);
    const [root, data] = await disks(lab);
    if (root === undefined || data === undefined) throw new Error("no disks");
    await expect(lab.define({ disks: [root, data] })).rejects.toMatchObject({ code: "HYPERVISOR_UNAVAILABLE" });
    expect(await lab.hypervisor.list()).toEqual([]);
    const guest = await lab.define({ disks: [root] });
    await guest.start();
    expect((await guest.info()).state).toBe("running");
    await guest.kill();
    await lab.hypervisor.undefine(guest.uuid);
  });
});
