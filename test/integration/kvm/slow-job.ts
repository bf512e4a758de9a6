// Block jobs that are slow from their first byte, so that a test comes in time however fast the disks and busy the machine.
import { Socket } from "node:net";

/** Gives the next block job of the id that this process starts a speed limit. Call before it is started. */
export function slowNextJob(id: string, bytesPerSecond: number): void {
  const { write } = Socket.prototype;
  const name = `"job-id":${JSON.stringify(id)}`;
  Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
    const text = typeof args[0] === "string" || Buffer.isBuffer(args[0]) ? String(args[0]) : "";
    if (text.includes(name)) {
      args[0] = text.replace(name, `${name},"speed":${bytesPerSecond}`);
      Socket.prototype.write = write;
    }
    return (write as (...given: unknown[]) => boolean).apply(this, args);
  };
}
