/** Containers by a real daemon's LXC driver: their life, their console, their limits and processes, and what they lack. */
import { chmod, copyFile, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { LibvirtClient, parametersToObject } from "../../../src/libvirt/rpc/index.js";
import { testGuest } from "../../lab/index.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../lab/libvirtd.js";
import { transcript } from "./support/transcript.js";

const UUIDS = ["c5b1f0a4-3f57-4e0b-9c6e-2a1d7e9f0c01", "c5b1f0a4-3f57-4e0b-9c6e-2a1d7e9f0c02"] as const;
const SIGKILL = 9;
/** Answers every line. */
const INIT = `#!/bin/sh
echo CT-READY
while :; do
  if read -r line; then echo "$line: pid $$ of $(hostname)"; else sleep 1; fi
done
`;

let daemon: LabLibvirtd;
let client: LibvirtClient;

beforeAll(async () => {
  daemon = await startLibvirtd({ port: 16_839, containers: true });
  client = await LibvirtClient.open(daemon.uri("lxc"));
  await makeRoot(daemon.file("root"), (await testGuest()).busybox);
}, 120_000);

afterAll(async () => {
  await client?.close();
  await daemon?.remove();
});

async function makeRoot(root: string, busybox: string): Promise<void> {
  for (const folder of ["bin", "sbin", "proc", "sys", "dev", "tmp", "etc"])
    await mkdir(`${root}/${folder}`, { recursive: true });
  await copyFile(busybox, `${root}/bin/busybox`);
  await chmod(`${root}/bin/busybox`, 0o755);
  for (const name of ["sh", "hostname", "sleep", "cat"]) await symlink("busybox", `${root}/bin/${name}`);
  await writeFile(`${root}/sbin/init`, INIT, { mode: 0o755 });
}

function containerXml(name: string, uuid: string): string {
  return `<domain type='lxc'><name>${name}</name><uuid>${uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
    <os><type>exe</type><init>/sbin/init</init></os><on_poweroff>destroy</on_poweroff>
    <devices><filesystem type='mount'><source dir='${daemon.file("root")}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>`;
}

it("is defined, started, spoken to, paused, limited, and ended by a signal to its first process", async () => {
  const { connection } = client;
  expect(await connection.call("connectGetType")).toEqual({ type: "LXC" });
  const events = await connection.events("domain", ["lifecycle"]);
  const container = await client.defineDomainXml(containerXml("ct1", UUIDS[0]));
  const { dom } = await connection.call("domainLookupByName", { name: "ct1" });
  await container.create();

  const console = await connection.openStream("domainOpenConsole", { dom, flags: 0 });
  const said = transcript(console);
  await said.until(/CT-READY/);
  console.write("hello\n");
  await said.until(/hello: pid 1 of ct1/);

  await container.suspend();
  expect(await connection.call("domainGetState", { dom, flags: 0 })).toMatchObject({ state: 3 });
  await container.resume();
  console.write("again\n");
  await said.until(/again: pid 1 of ct1/);

  const params = [{ field: "hard_limit", type: "ullong" as const, value: 49_152n }];
  await connection.call("domainSetMemoryParameters", { dom, params, flags: 1 });
  const limits = await connection.call("domainGetMemoryParameters", { dom, nparams: 3, flags: 1 });
  expect(parametersToObject(limits.params)).toMatchObject({ hard_limit: 49_152n });
  expect(await connection.call("domainGetInfo", { dom })).toMatchObject({ state: 1, maxMem: 65_536n });
  expect((await connection.call("domainGetXmlDesc", { dom, flags: 0 })).xml).toContain("<domain type='lxc' id=");

  // What needs descriptors back is refused before it leaves; what the driver does not have, by the driver.
  const namespaces = connection.callLxc("domainLxcOpenNamespace", { dom, flags: 0 });
  await expect(namespaces).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
  const screen = connection.openStream("domainScreenshot", { dom, screen: 0, flags: 0 });
  await expect(screen).rejects.toMatchObject({ code: "LIBVIRT", kind: "notSupported" });

  await connection.call("domainSendProcessSignal", { dom, pidValue: 1n, signum: SIGKILL, flags: 0 });
  const told: string[] = [];
  for await (const item of events) {
    if (item.kind !== "event") continue;
    told.push(`${item.data.event},${item.data.detail}`);
    if (item.data.event === 5) break;
  }
  expect(told).toEqual(["0,0", "2,0", "3,0", "4,0", "5,0"]);
  expect(await connection.call("domainGetState", { dom, flags: 0 })).toMatchObject({ state: 5 });
  await container.undefine();
});

it("is transient, gone with the connection that began it, and killed for good", async () => {
  const other = await LibvirtClient.open(daemon.uri("lxc"));
  const events = await client.connection.events("domain", ["lifecycle"]);
  const AUTODESTROY = 2;
  const { dom } = await other.connection.call("domainCreateXml", {
    xmlDesc: containerXml("ct2", UUIDS[1]),
    flags: AUTODESTROY,
  });
  await other.close();
  for await (const item of events) if (item.kind === "event" && item.data.event === 5) break;
  await expect(client.connection.call("domainLookupByUuid", { uuid: dom.uuid })).rejects.toMatchObject({
    kind: "domainNotFound",
  });

  const again = await client.connection.call("domainCreateXml", { xmlDesc: containerXml("ct3", UUIDS[1]), flags: 0 });
  await client.connection.call("domainDestroy", { dom: again.dom });
  await expect(client.connection.call("domainDestroy", { dom: again.dom })).rejects.toMatchObject({
    kind: "domainNotFound",
  });
  expect(await readdir(daemon.file("run/lxc"))).toEqual(expect.not.arrayContaining(["ct2.pid", "ct3.pid"]));
});
