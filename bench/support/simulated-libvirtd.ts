// A simulated libvirt daemon in a process of its own, on a UNIX socket: `simulated-libvirtd.ts SOCKET`. Says `ready`, and ends with its standard input.
import { createServer } from "node:net";
import { SimulatedLibvirtHost } from "../../src/testing/libvirt/index.js";

const [socket = ""] = process.argv.slice(2);
const host = await SimulatedLibvirtHost.create({ hardware: { memoryKiB: 1_073_741_824n, cpus: 512 } });
const server = createServer((client) => {
  const inner = host.connect();
  client.pipe(inner).pipe(client);
  for (const [one, other] of [[client, inner] as const, [inner, client] as const]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
});
server.listen(socket, () => console.log("ready"));
process.stdin.resume().once("end", () => process.exit(0));
