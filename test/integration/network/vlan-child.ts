// Runs in a test guest, whose kernel has VLANs, on the tree of the machine that tests: a bridge on a VLAN, frame by frame, and limits by policing.
import { execFileSync } from "node:child_process";
import { LinuxBridgeInterfaceDriver, TrafficLimits } from "../../../src/network/index.js";

const run = (...[file = "", ...args]: string[]): string => execFileSync(file, args, { encoding: "utf8" });
const attempt = (...argv: string[]): boolean => {
  try {
    run(...argv);
    return true;
  } catch {
    return false;
  }
};
const network = {
  id: "ab3e4f10-8f57-4a2b-9c6e-94bd3c9fd8aa",
  bridge: "br5",
  parentInterface: "par0",
  vlan: 5,
  mtu: 1400,
};

async function main(): Promise<unknown> {
  run("ip", "netns", "add", "peer");
  run("ip", "link", "add", "par0", "type", "veth", "peer", "name", "eth0", "netns", "peer");
  const within = (...argv: string[]): string[] => ["ip", "netns", "exec", "peer", ...argv];
  run(...within("ip", "link", "set", "eth0", "up"));
  for (const vlan of [5, 6]) {
    run(...within("ip", "link", "add", "link", "eth0", "name", `v${vlan}`, "type", "vlan", "id", String(vlan)));
    run(...within("ip", "link", "set", `v${vlan}`, "up"));
  }
  run(...within("ip", "address", "add", "10.5.0.2/24", "dev", "v5"));
  run(...within("ip", "address", "add", "10.6.0.2/24", "dev", "v6"));
  const pings = (address: string): boolean => attempt("busybox", "ping", "-c", "1", "-W", "3", address);

  const driver = new LinuxBridgeInterfaceDriver();
  const plan = await driver.plan(network, "fa:16:3e:00:00:05");
  const bridge = await driver.plug(network, "fa:16:3e:00:00:05");
  const again = await driver.plan(network, "fa:16:3e:00:00:05");
  run("ip", "address", "add", "10.5.0.1/24", "dev", bridge);
  const sameVlan = pings("10.5.0.2");
  // The other VLAN's address is not to be found on this one: the peer answers for it only where it belongs.
  run("ip", "route", "add", "10.6.0.0/24", "dev", bridge);
  run(...within("sysctl", "-q", "-w", "net.ipv4.conf.all.arp_ignore=1"));
  const otherVlan = pings("10.6.0.2");
  const vlan = run("ip", "-d", "link", "show", "vlan5");

  const second = await driver.ensureVlanBridge(6, "par0");
  run("ip", "route", "delete", "10.6.0.0/24", "dev", bridge);
  run("ip", "address", "add", "10.6.0.1/24", "dev", second);
  const secondVlan = pings("10.6.0.2");

  const limits = new TrafficLimits();
  await limits.set("par0", { receive: { averageKBps: 1, burstKiB: 4 } });
  run(
    ...within(
      process.execPath,
      "-e",
      `const s=require("node:dgram").createSocket("udp4");let n=0;const f=()=>n++<64?s.send(Buffer.alloc(1000),9,"10.5.0.1",f):s.close();f()`,
    ),
  );
  const filter = run("tc", "-s", "filter", "show", "dev", "par0", "parent", "ffff:");
  await limits.clear("par0");

  await driver.unplug(network);
  await driver.unplug(network);
  const left = run("ip", "-br", "link");
  return {
    plan,
    again,
    bridge,
    sameVlan,
    otherVlan,
    second,
    secondVlan,
    vlanId: /vlan protocol 802\.1Q id (\d+)/.exec(vlan)?.[1],
    mtu: /mtu (\d+)/.exec(vlan)?.[1],
    policed: Number(/dropped (\d+)/.exec(filter)?.[1] ?? 0) > 0,
    left: left.includes("vlan5") || /\bbr5\b/.test(left),
  };
}

main().then(
  (result) => console.log(`HV-RESULT ${JSON.stringify(result)}`),
  (error: unknown) =>
    console.log(`HV-RESULT ${JSON.stringify({ error: String(error), stack: (error as Error).stack })}`),
);
