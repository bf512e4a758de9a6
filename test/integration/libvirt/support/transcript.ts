import type { LibvirtStream } from "../../../../src/libvirt/rpc/index.js";

/** All that a console says, to wait for. */
export function transcript(stream: LibvirtStream) {
  let text = "";
  let ended = false;
  const listeners = new Set<() => void>();
  stream.on("data", (data: Buffer) => {
    text += data.toString("latin1");
    for (const look of listeners) look();
  });
  stream.once("end", () => (ended = true));
  return {
    ended: () => ended,
    until: (pattern: RegExp, timeoutMs = 90_000) =>
      new Promise<void>((resolve, reject) => {
        const stop = (): void => {
          clearTimeout(timer);
          listeners.delete(look);
        };
        const timer = setTimeout(() => {
          stop();
          reject(new Error(`no ${pattern.source}; the console said …${text.slice(-1000)}`));
        }, timeoutMs);
        const look = (): void => {
          if (!pattern.test(text)) return;
          stop();
          resolve();
        };
        listeners.add(look);
        look();
      }),
  };
}
