/** Secrets: their definitions can be read by all, the values of private ones by nobody. */
import { randomUUID } from "node:crypto";
import { SecretEventLifecycleType as EVENT, SecretUsageType as USAGE } from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol } from "../../../libvirt/rpc/index.js";
import { formatSecretXml, parseSecretXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import type { HostState, SecretRecord } from "./host-state.js";
import { readDocument } from "./read-document.js";
import { refusal } from "./refuse.js";

const LIST = { ephemeral: 1, noEphemeral: 2, private: 4, noPrivate: 8 } as const;

export function secretHandlers(host: HostState): FakeLibvirtHandlers {
  const found = ({ uuid }: { readonly uuid: string }): SecretRecord => {
    const secret = host.secrets.get(uuid);
    if (secret === undefined)
      throw refusal("noSecret", "secret", `Secret not found: no secret with matching uuid '${uuid}'`);
    return secret;
  };
  const tell = (secret: SecretRecord, event: number): void =>
    host.emit("secret", "lifecycle", { secret: referenceOf(secret), event, detail: 0 });
  return {
    secretDefineXml({ xml }) {
      const document = readDocument("secret", "secret", () => parseSecretXml(xml));
      const uuid = document.uuid ?? randomUUID();
      document.uuid = uuid;
      const known = host.secrets.get(uuid);
      const secret: SecretRecord = { document, uuid, value: known?.value };
      const { usageType, usageId } = referenceOf(secret);
      for (const other of host.secrets.values()) {
        const used = referenceOf(other);
        if (other.uuid !== uuid && usageType !== USAGE.none && used.usageType === usageType && used.usageId === usageId)
          throw refusal(
            "internalError",
            "secret",
            `a secret with UUID ${other.uuid} already defined for use with ${usageId}`,
          );
      }
      if (known !== undefined && isYes(known.document.private) && !isYes(document.private))
        throw refusal("operationDenied", "secret", "cannot change private flag on existing secret");
      host.secrets.set(uuid, secret);
      tell(secret, EVENT.defined);
      return { secret: referenceOf(secret) };
    },
    secretUndefine({ secret: reference }) {
      const secret = found(reference);
      host.secrets.delete(secret.uuid);
      tell(secret, EVENT.undefined);
      return {};
    },
    secretSetValue({ secret: reference, value }) {
      const secret = found(reference);
      secret.value = Buffer.from(value);
      host.emit("secret", "valueChanged", { secret: referenceOf(secret) });
      return {};
    },
    secretGetValue({ secret: reference }) {
      const { document, value, uuid } = found(reference);
      if (isYes(document.private)) throw refusal("invalidSecret", "secret", "secret is private");
      if (value === undefined) throw refusal("noSecret", "secret", `secret '${uuid}' does not have a value`);
      return { value };
    },
    secretGetXmlDesc: ({ secret }) => ({ xml: formatSecretXml(found(secret).document) }),
    secretLookupByUuid: ({ uuid }) => ({ secret: referenceOf(found({ uuid })) }),
    secretLookupByUsage({ usageType, usageId }) {
      const secret = [...host.secrets.values()].find((each) => {
        const used = referenceOf(each);
        return used.usageType === usageType && used.usageId === usageId;
      });
      if (secret === undefined) throw refusal("noSecret", "secret", `no secret with matching usage '${usageId}'`);
      return { secret: referenceOf(secret) };
    },
    connectListAllSecrets({ flags }) {
      const secrets = [...host.secrets.values()].filter(({ document }) => isListed(document, flags)).map(referenceOf);
      return { secrets, ret: secrets.length };
    },
    connectNumOfSecrets: () => ({ num: host.secrets.size }),
  };
}

function isListed(document: SecretRecord["document"], flags: number): boolean {
  const holds = (yes: number, no: number, value: boolean): boolean =>
    (flags & (yes | no)) === 0 || (flags & (value ? yes : no)) !== 0;
  return (
    holds(LIST.private, LIST.noPrivate, isYes(document.private)) &&
    holds(LIST.ephemeral, LIST.noEphemeral, isYes(document.ephemeral))
  );
}

function referenceOf({ document, uuid }: SecretRecord): LibvirtProtocol.RemoteSecret {
  const usage = (document.usage ?? {}) as { readonly type?: string; readonly [member: string]: unknown };
  const usageType = USAGE[(usage.type ?? "none") as keyof typeof USAGE] ?? USAGE.none;
  const { volume, name, target } = usage;
  const usageId = [volume, name, target].find((each): each is string => typeof each === "string") ?? "";
  return { uuid, usageType, usageId };
}

function isYes(value: unknown): boolean {
  return value === "yes" || value === true;
}
