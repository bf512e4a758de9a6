// @unraid/libvirt under the same work as ours: `unraid-peer.mjs URI WHAT COUNT DEPTH`, in a
// folder where it is installed; prints what one call took.
import { Hypervisor } from "@unraid/libvirt";

const [uri, what, ...numbers] = process.argv.slice(2);
const [count, depth] = numbers.map(Number);
const hypervisor = new Hypervisor({ uri });
await hypervisor.connectOpen();
const calls = { version: () => hypervisor.connectGetLibVersion(), hostname: () => hypervisor.connectGetHostname() };
const call = calls[what];

async function lanes(total) {
  const each = Math.ceil(total / depth);
  const lane = async () => {
    for (let i = 0; i < each; i++) await call();
  };
  await Promise.all(Array.from({ length: depth }, lane));
}

await lanes(count / 10 + 1);
const cpu0 = process.cpuUsage();
const start = performance.now();
await lanes(count);
const wallUs = ((performance.now() - start) * 1000) / count;
const { user, system } = process.cpuUsage(cpu0);
console.log(JSON.stringify({ wallUs, cpuUs: (user + system) / count }));
process.exit(0);
