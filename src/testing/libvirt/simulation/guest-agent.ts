/** What simulated guests' agents do: by libvirt's own procedures, and by commands as they are. */
import {
  DomainEventStoppedDetailType as STOPPED,
  DomainEventType as EVENT,
  DomainShutoffReason,
  DomainState,
} from "../../../libvirt/rpc/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { devicesOf } from "./device-names.js";
import type { DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { vcpusOf } from "./domain-state.js";
import { hasAgent, stopGuest, tellLifecycle } from "./lifecycle.js";
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
    domainGetGuestVcpus({ dom }) {
      const domain = responding(dom);
      const all = listOf(vcpusOf(domain.document));
      const online = domain.offlineVcpus.size === 0 ? all : without(vcpusOf(domain.document), domain.offlineVcpus);
      return {
        params: [
          { field: "vcpus", type: "string", value: all },
          { field: "online", type: "string", value: online },
          { field: "offlinable", type: "string", value: all },
        ],
      };
    },
    domainSetGuestVcpus({ dom, cpumap, state }) {
      const domain = responding(dom);
      const [first, last = first] = cpumap.split("-").map(Number);
      if (first === undefined || !Number.isInteger(first) || last === undefined || last >= vcpusOf(domain.document))
        throw refusal("invalidArg", "qemu", "guest is missing vCPUs");
      for (let vcpu = first; vcpu <= last; vcpu++)
        if (state === 0) domain.offlineVcpus.add(vcpu);
        else domain.offlineVcpus.delete(vcpu);
      return {};
    },
    domainAuthorizedSshKeysGet({ dom, user }) {
      return { keys: [...(responding(dom).sshKeys.get(user) ?? [])] };
    },
    domainAuthorizedSshKeysSet({ dom, user, keys, flags }) {
      const domain = responding(dom);
      const known = domain.sshKeys.get(user) ?? [];
      if ((flags & SSH_KEYS.remove) !== 0) domain.sshKeys.set(user, withoutKeys(known, keys));
      else if ((flags & SSH_KEYS.append) !== 0) domain.sshKeys.set(user, [...new Set([...known, ...keys])]);
      else domain.sshKeys.set(user, [...keys]);
      return {};
    },
    domainAgentSetResponseTimeout({ dom, timeout }) {
      host.domain(dom);
      if (timeout < -2)
        throw refusal("invalidArg", "domain", `guest agent timeout '${timeout}' is less than the minimum '-2'`);
      return { result: 0 };
    },
    domainPmSuspendForDuration({ dom, target, duration }) {
      const domain = responding(dom);
      if (duration !== 0n) throw refusal("argumentUnsupported", "qemu", "Duration not supported. Use 0 for now");
      if (target !== SUSPEND_TO_DISK) {
        domain.state = DomainState.pmsuspended;
        domain.reason = 0;
        tellLifecycle(host, domain, EVENT.pmsuspended, 0);
      } else stopGuest(host, domain, DomainShutoffReason.shutdown, STOPPED.shutdown);
      return {};
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

const SSH_KEYS = { append: 1, remove: 2 } as const;
const SUSPEND_TO_DISK = 1;

function listOf(count: number): string {
  return count === 1 ? "0" : `0-${count - 1}`;
}

function without(count: number, offline: ReadonlySet<number>): string {
  return Array.from({ length: count }, (_, vcpu) => vcpu)
    .filter((vcpu) => !offline.has(vcpu))
    .join(",");
}

function withoutKeys(known: readonly string[], gone: readonly string[]): string[] {
  return known.filter((key) => !gone.includes(key));
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
  if (execute === "guest-fsfreeze-thaw") {
    const thawed = domain.frozenFilesystems;
    domain.frozenFilesystems = 0;
    return { return: thawed };
  }
  if (execute === "guest-fsfreeze-freeze" && domain.frozenFilesystems === 0) {
    domain.frozenFilesystems = 1;
    return { return: 1 };
  }
  if (execute === "guest-set-user-password" && domain.frozenFilesystems === 0) return { return: {} };
  throw refusal(
    "internalError",
    "qemu",
    `unable to execute QEMU agent command '${execute}': The command ${execute} has not been found`,
  );
}
