// A real guest behind the filters that the KVM driver has put up for it.
import { randomUUID } from "node:crypto";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { InstanceSpec } from "../../../src/driver/index.js";
import { withAllFacets } from "../../../src/driver/index.js";
import type { SecurityGroup, SecurityGroupRule } from "../../../src/firewall/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import {
  collectResidue,
  createBridge,
  createTapPort,
  requirePackages,
  residueDifference,
  run,
  temporaryDirectory,
  testGuest,
  waitFor,
} from "../../lab/index.js";
import type { LabBridge, TapPort, TemporaryDirectory } from "../../lab/index.js";
import type { FilteringRequest } from "./filtering-child.js";
import { openFilteringDriver } from "./filtering-driver.js";
import type { FilteringDriver, FilterKind } from "./filtering-driver.js";
import { RawPeer } from "./raw-peer.js";

const GUEST = { mac: "52:54:00:f1:00:01", address: "10.77.0.60" } as const;
const PEER = { mac: "52:54:00:f1:00:02", address: "10.77.0.50" } as const;
const FORGED = { mac: "52:54:00:f1:00:66", address: "10.77.0.66" } as const;
const BOOT_MS = 120_000;
/** Open to everybody, always: its answer says that those before it are not coming any more. */
const OPEN = 22;

const tcp = (port: number): SecurityGroupRule => ({
  direction: "ingress",
  ipVersion: 4,
  protocol: "tcp",
  portFrom: port,
});
const basis: readonly SecurityGroupRule[] = [tcp(OPEN), tcp(80)];

describe.each(["nftables", "iptables"] as const)("a guest of the KVM driver, filtered by %s", (kind: FilterKind) => {
  const group: SecurityGroup = { id: "guests", rules: basis };
  const uuid = randomUUID();
  const instance = { uuid, name: `filtered-${uuid.slice(0, 8)}` };
  let directory: TemporaryDirectory;
  let bridge: LabBridge;
  let port: TapPort;
  let peer: RawPeer;
  let host: FilteringDriver;
  let before: Awaited<ReturnType<typeof residue>>;

  const residue = async (): Promise<ReadonlySet<string>> => {
    const lines = await collectResidue({ directories: [join(directory.path, "state", "guests")] });
    return new Set([...lines].filter((line) => !line.includes('"name":"mark_')));
  };
  const inGuest = async (command: string): Promise<string> => {
    const facets = withAllFacets(host.driver);
    const { stdout } = await facets.execInGuest(instance, ["/bin/sh", "-c", command], { deadline: 30_000 });
    return Buffer.from(stdout).toString();
  };
  const setRules = (rules: readonly SecurityGroupRule[]): Promise<void> => {
    host.groups.setGroup({ id: "guests", rules });
    return withAllFacets(host.driver).refreshSecurityGroupRules("guests");
  };

  /** Spawned by a process that is killed at once; what it has left is found by the driver of this process. */
  beforeAll(async () => {
    requirePackages("qemu-system-x86_64", "ip", "nft", "conntrack", "iptables", "ipset", "dnsmasq");
    directory = await temporaryDirectory();
    bridge = await createBridge({ hosts: { [GUEST.mac]: GUEST.address } });
    port = await createTapPort(bridge.name);
    peer = new RawPeer(port, PEER, GUEST);
    const guest = await testGuest();
    const images = new DirectoryImageStore({ directory: join(directory.path, "images") });
    await images.import({ id: "guest", format: "qcow2", path: guest.disk });
    const idle = await openFilteringDriver(directory.path, kind, [group]);
    await idle.firewall.reconcile();
    await idle.driver.close();
    before = await residue();
    const spec: InstanceSpec = {
      ...instance,
      flavor: { vcpus: 1, memoryMiB: guest.memoryMiB, rootGiB: 1 },
      imageId: "guest",
      vifs: [
        {
          type: "bridge",
          id: randomUUID(),
          macAddress: GUEST.mac,
          bridge: bridge.name,
          network: { id: "lab", subnets: [{ cidr: "10.77.0.0/24", dhcpServer: bridge.address }] },
          fixedIps: [{ address: GUEST.address }],
          securityGroups: ["guests"],
        },
      ],
    };
    await spawnAndDie({ directory: directory.path, kind, groups: [group], spec });
    host = await openFilteringDriver(directory.path, kind, [group]);
    const facets = withAllFacets(host.driver);
    const isUp = (): Promise<boolean> =>
      facets.getGuestInterfaces(instance).then(
        (interfaces) => interfaces.some(({ addresses }) => addresses.some((one) => one.startsWith(GUEST.address))),
        () => false,
      );
    await waitFor(isUp, { timeoutMs: BOOT_MS, what: "a guest with its address" });
    await inGuest(`for port in ${OPEN} 80 81 5432; do nc -ll -p $port -e cat > /dev/null 2>&1 & done`);
  }, 240_000);

  afterAll(async () => {
    await host?.driver.destroy(instance);
    await host?.driver.close();
    await host?.firewall.remove();
    // What iptables itself leaves of its tables.
    for (const family of ["ip", "ip6"]) await run(["nft", "delete", "table", family, "filter"]).catch(() => "");
    port?.close();
    await bridge?.remove();
    await directory?.remove();
  });

  it("answers on permitted ports only, also when the process that put up the filters was killed", async () => {
    expect(await peer.answering([80, 81, 5432, 9_999], OPEN)).toEqual([80]);
    expect(await host.firewall.instanceFilterExists(instance)).toBe(true);
    const flow = await peer.connect(80);
    await peer.echo(flow, "hello guest");
    const counters = await host.firewall.portCounters(instance);
    expect(counters).toHaveLength(1);
    expect(counters[0]?.dropped.packets).toBeGreaterThanOrEqual(3n);
  });

  it("is filtered from its host, too", async () => {
    const sockets: Socket[] = [];
    const state = (port: number): { readonly done: Promise<unknown>; settled: boolean } => {
      const socket = connect({ host: GUEST.address, port });
      sockets.push(socket);
      const entry = { done: Promise.race([once(socket, "connect"), once(socket, "error")]), settled: false };
      const settle = (): void => void (entry.settled = true);
      entry.done.then(settle, settle);
      return entry;
    };
    try {
      const shut = [81, 9_999].map(state);
      await state(80).done;
      expect(shut.map(({ settled }) => settled)).toEqual([false, false]);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });

  it("can't send in another's name", async () => {
    const size = 77;
    await inGuest(
      [
        `ip addr add ${FORGED.address}/32 dev eth0`,
        // So that nothing depends on whether questions for addresses come through.
        `arp -s ${PEER.address} ${PEER.mac}`,
        `ping -c 1 -W 1 -I ${FORGED.address} ${PEER.address}`,
        `arping -c 1 -w 1 -s ${FORGED.address} -I eth0 ${PEER.address}`,
        `arping -c 1 -w 1 -U -s ${FORGED.address} -I eth0 ${FORGED.address}`,
        `ip addr del ${FORGED.address}/32 dev eth0`,
        "ip link set eth0 down",
        `ip link set eth0 address ${FORGED.mac}`,
        "ip link set eth0 up",
        `arp -s ${PEER.address} ${PEER.mac}`,
        `ping -c 1 -W 1 ${PEER.address}`,
        `arping -c 1 -w 1 -I eth0 ${PEER.address}`,
        "ip link set eth0 down",
        `ip link set eth0 address ${GUEST.mac}`,
        "ip link set eth0 up",
        `arp -s ${PEER.address} ${PEER.mac}`,
        `ping -c 1 -W 1 -s ${size} ${PEER.address}`,
      ].join("; "),
    );
    const honest = await peer.waitForFrame(({ protocol, data }) => protocol === "icmp" && data.length === size);
    expect(honest).toMatchObject({ sourceMac: GUEST.mac, source: GUEST.address });
    const forged = peer.seen.filter(({ sourceMac, source }) => sourceMac === FORGED.mac || source === FORGED.address);
    expect(forged).toEqual([]);
    await inGuest(`arp -d ${PEER.address}`);
  });

  it("follows its group while it runs, and loses flows that are no longer permitted", async () => {
    const flow = await peer.connect(80);
    await peer.echo(flow, "first");
    await setRules([tcp(OPEN), tcp(81)]);
    flow.send("second");
    expect(await peer.answering([80, 81], OPEN)).toEqual([81]);
    expect(flow.hasEcho("second")).toBe(false);
    await setRules(basis);
    expect(await peer.answering([80, 81], OPEN)).toEqual([80]);
  });

  it("follows the members of a group that it trusts", async () => {
    await setRules([...basis, { ...tcp(5_432), remote: { groupId: "web" } }]);
    expect(await peer.answering([5_432], OPEN)).toEqual([]);
    host.groups.setMember("elsewhere", { addresses: [PEER.address] }, ["web"]);
    await withAllFacets(host.driver).refreshSecurityGroupMembers("web");
    const flow = await peer.connect(5_432);
    await peer.echo(flow, "member");
    host.groups.deleteMember("elsewhere");
    await withAllFacets(host.driver).refreshSecurityGroupMembers("web");
    flow.send("no more");
    expect(await peer.answering([5_432], OPEN)).toEqual([]);
    expect(flow.hasEcho("no more")).toBe(false);
    await setRules(basis);
  });

  it("is filtered under a driver that was opened anew, and leaves nothing when it is destroyed", async () => {
    await host.driver.close();
    host = await openFilteringDriver(directory.path, kind, [{ id: "guests", rules: [tcp(OPEN), tcp(81)] }]);
    expect(await host.firewall.instanceFilterExists(instance)).toBe(true);
    expect(await peer.answering([80, 81], OPEN)).toEqual([81]);
    await host.driver.destroy(instance);
    expect(residueDifference(before, await residue())).toEqual([]);
    expect(await host.firewall.instanceFilterExists(instance)).toBe(false);
  });
});

async function spawnAndDie(request: FilteringRequest): Promise<void> {
  const script = fileURLToPath(new URL("filtering-child.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script, JSON.stringify(request)], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const [, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  expect(signal, said).toBe("SIGKILL");
}
