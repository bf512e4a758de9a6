/** Where the consoles of a guest in memory listen, by its live definition. */
import type { CommonOptions } from "../../../core/index.js";
import { ConsoleUnavailableError } from "../../../driver/index.js";
import type { ConsoleAddress } from "../../../driver/index.js";
import { parseDomainXml } from "../../xml/index.js";
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";

type Place = Omit<ConsoleAddress, "kind">;

/** @throws ConsoleUnavailableError when the guest is not in memory or has no such console */
export async function consoleAddress(
  core: GuestCore,
  kind: ConsoleAddress["kind"],
  options: CommonOptions,
): Promise<ConsoleAddress> {
  const domain = await liveDomain(core, options);
  const place = kind === "serial" ? serialPlace(domain) : graphicsPlace(graphicsOf(domain, kind));
  if (place === undefined) throw unavailable(core, kind);
  return { kind, ...place };
}

/** The domain as it is in memory, without its passwords; undefined when it is not. */
export async function liveDomain(core: GuestCore, options: CommonOptions): Promise<DomainXml | undefined> {
  const { domain, host, instance } = core;
  if (!core.inMemory) return undefined;
  const xml = await asDriverErrors({ operation: "consoleAddress", instance }, () =>
    domain.getXmlDesc(core.limits(options, host.timeouts.queryMs)),
  );
  const live = parseDomainXml(xml);
  // The configuration is given of a domain that has just gone.
  return live.id === undefined || live.id < 0 ? undefined : live;
}

export function graphicsOf(
  domain: DomainXml | undefined,
  kind: "vnc" | "spice",
): LibvirtXml.DomainGraphics | undefined {
  return domain?.devices?.graphics?.find(({ type }) => type === kind);
}

export function unavailable({ instance }: GuestCore, kind: ConsoleAddress["kind"]): ConsoleUnavailableError {
  return new ConsoleUnavailableError(`the guest has no ${kind} console now`, { instance });
}

function graphicsPlace(graphics: LibvirtXml.DomainGraphics | undefined): Place | undefined {
  if (graphics === undefined) return undefined;
  const [listener] = graphics.$listen ?? [];
  const socketPath = listener?.socket ?? graphics.socket;
  if (socketPath !== undefined) return { socketPath };
  const host = listener?.address ?? graphics.listen;
  const port = listening(graphics.port);
  const tlsPort = listening(graphics.tlsPort);
  if (host === undefined || (port === undefined && tlsPort === undefined)) return undefined;
  return { host, ...(port === undefined ? {} : { port }), ...(tlsPort === undefined ? {} : { tlsPort }) };
}

function listening(port: number | undefined): number | undefined {
  return port !== undefined && port > 0 ? port : undefined;
}

function serialPlace(domain: DomainXml | undefined): Place | undefined {
  const { serial = [], console: consoles = [] } = domain?.devices ?? {};
  const [device] = [...serial, ...consoles];
  const [source] = device?.source ?? [];
  switch (device?.type) {
    case "pty": {
      const ttyPath = source?.path ?? device.tty;
      return ttyPath === undefined ? undefined : { ttyPath };
    }
    case "unix":
      return source?.path === undefined ? undefined : { socketPath: source.path };
    case "tcp":
      return source?.host === undefined || source.service === undefined
        ? undefined
        : { host: source.host, port: Number(source.service) };
    default:
      return undefined;
  }
}
