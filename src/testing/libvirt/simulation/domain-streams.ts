/** Consoles and screenshots of simulated guests. */
import { DomainConsoleFlags as CONSOLE } from "../../../libvirt/rpc/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import type { FakeLibvirtStream } from "../fake-libvirt-stream.js";
import { devicesOf } from "./device-names.js";
import type { HostState } from "./host-state.js";
import { refusal } from "./refuse.js";

/** What a guest answers to what is typed at its console. */
export type ConsoleProgram = (
  domain: { readonly uuid: string; readonly name: string },
  input: Buffer,
) => Uint8Array | string | undefined;

export function streamHandlers(host: HostState, program: () => ConsoleProgram): FakeLibvirtHandlers {
  return {
    domainOpenConsole({ dom, devName, flags }, { stream }) {
      const domain = host.activeDomain(dom);
      const devices = [...devicesOf(domain.document, "serial"), ...devicesOf(domain.document, "console")];
      if (devices.length === 0 || (devName !== undefined && !devices.some(({ alias }) => alias?.name === devName)))
        throw refusal("invalidArg", "qemu", "cannot find console device");
      if (domain.consoles.size > 0) {
        if ((flags & CONSOLE.force) === 0)
          throw refusal("operationFailed", "qemu", "Active console session exists for this domain");
        for (const other of domain.consoles)
          void other.fail({ code: 78, domain: 38, message: "the console was taken over" });
        domain.consoles.clear();
      }
      if (stream === undefined) return {};
      domain.consoles.add(stream);
      void stream.closed.then(() => domain.consoles.delete(stream));
      void serveConsole(stream, (input) => program()(domain, input));
      return {};
    },
    domainScreenshot({ dom }, { stream }) {
      host.activeDomain(dom);
      void stream?.write(picture()).then(() => stream.end());
      return { mime: "image/x-portable-pixmap" };
    },
  };
}

async function serveConsole(
  stream: FakeLibvirtStream,
  answer: (input: Buffer) => Uint8Array | string | undefined,
): Promise<void> {
  for await (const part of stream) {
    const said = Buffer.isBuffer(part) ? answer(part) : undefined;
    if (said !== undefined) await stream.write(Buffer.from(said));
  }
}

/** A small black screen as a portable pixmap. */
function picture(): Buffer {
  const [width, height] = [64, 40];
  return Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), Buffer.alloc(width * height * 3)]);
}
