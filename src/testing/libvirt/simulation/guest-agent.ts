/** What simulated guests' agents do: by libvirt's own procedures, and by commands as they are. */
import { DomainState } from "../../../libvirt/rpc/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { devicesOf } from "./device-names.js";
import type { DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { hasAgent } from "./lifecycle.js";
import { invalidOperation, refusal } from "./refuse.js";

/** Answers a command of QEMU's agent; what it throws is the agent's refusal. Undefined: the simulated agent's own answer. */
export type AgentCommand = (
  domain: { readonly uuid: string; readonly name: string },
  command: {
    readonly execute: string;
    readonly arguments?: unknown;
  },
) => unknown;

export function agentHandlers(host: HostState, command: () => AgentCommand | undefined): FakeLibvirtHandlers {
  const responding = (dom: { readonly uuid: string; readonly name: string }): DomainRecord => {
    const domain = host.activeDomain(dom);
    if (domain.state !== DomainState.running) throw invalidOperation("domain is not running");
    const { agent } = host.behaviourOf(domain);
    if (!hasAgent(domain) || agent === "absent")
      throw refusal("argumentUnsupported", "qemu", "QEMU guest agent is not configured");
    if (agent === "hung" || !domain.booted)
      throw refusal("agentUnresponsive", "qemu", "Guest agent is not responding: QEMU guest agent is not connected");
    return domain;
  };
  return {
    domainFsFreeze({ dom, mountpoints }) {
      const domain = responding(dom);
      if (domain.frozenFilesystems > 0)
        throw refusal("internalError", "qemu", "unable to execute QEMU agent command 'guest-fsfreeze-freeze'");
      domain.frozenFilesystems = Math.max(1, mountpoints.length);
      return { filesystems: domain.frozenFilesystems };
    },
    domainFsThaw({ dom }) {
      const domain = responding(dom);
      const filesystems = domain.frozenFilesystems;
      domain.frozenFilesystems = 0;
      return { filesystems };
    },
    domainFsTrim({ dom }) {
      responding(dom);
      return {};
    },
    domainGetFsInfo({ dom }) {
      responding(dom);
      const info = [{ mountpoint: "/", name: "vda1", fstype: "ext4", devAliases: ["vda"] }];
      return { info, ret: info.length };
    },
    domainSetUserPassword({ dom, user }) {
      responding(dom);
      if (user === undefined || user === "") throw refusal("invalidArg", "domain", "no user");
      return {};
    },
    domainGetTime({ dom }) {
      responding(dom);
      const now = host.clock.now();
      return { seconds: BigInt(Math.floor(now / 1000)), nseconds: (now % 1000) * 1_000_000 };
    },
    domainSetTime({ dom }) {
      responding(dom);
      return {};
    },
    domainGetHostname({ dom }) {
      return { hostname: responding(dom).name };
    },
    domainGetGuestInfo({ dom }) {
      const domain = responding(dom);
      return { params: [{ field: "hostname", type: "string", value: domain.name }] };
    },
    domainInterfaceAddresses({ dom }) {
      const domain = host.activeDomain(dom);
      const nics = devicesOf(domain.document, "interface") as {
        mac?: { address?: string };
        target?: { dev?: string };
      }[];
      const ifaces = nics.map(({ mac, target }, index) => ({
        name: target?.dev ?? `vnet${index}`,
        hwaddr: mac?.address,
        addrs: [{ type: 0, addr: `192.0.2.${(domain.id * 8 + index) % 254}`, prefix: 24 }],
      }));
      return { ifaces };
    },
    async domainQemuAgentCommand({ dom, cmd }) {
      const domain = responding(dom);
      return { result: JSON.stringify(await answer(domain, cmd, command())) };
    },
  };
}

async function answer(domain: DomainRecord, text: string, command: AgentCommand | undefined): Promise<unknown> {
  let given: { readonly execute?: unknown };
  try {
    given = JSON.parse(text) as { readonly execute?: unknown };
  } catch {
    throw refusal("internalError", "qemu", `cannot parse json ${text.slice(0, 80)}`);
  }
  const { execute } = given;
  if (typeof execute !== "string") throw refusal("internalError", "qemu", "missing 'execute' key");
  const own = await command?.(domain, { ...given, execute });
  if (own !== undefined) return { return: own };
  if (execute === "guest-ping") return { return: {} };
  if (execute === "guest-fsfreeze-status") return { return: domain.frozenFilesystems > 0 ? "frozen" : "thawed" };
  throw refusal(
    "internalError",
    "qemu",
    `unable to execute QEMU agent command '${execute}': The command ${execute} has not been found`,
  );
}
