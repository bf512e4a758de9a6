/** What domains are, and settings of theirs that are numbers. */
import { DomainModificationImpact as IMPACT, DomainState } from "../../../libvirt/rpc/index.js";
import { formatXmlElement, parseXmlElement } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import type { DomainDocument, DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { cpuNanoseconds } from "./guest-numbers.js";
import { invalidOperation, refusal } from "./refuse.js";

const VCPU_MAXIMUM = 4;
const MEMORY_MAXIMUM = 4;
const METADATA = { description: 0, title: 1, element: 2 } as const;

export function stateHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    domainGetState({ dom }) {
      const { state, reason } = host.domain(dom);
      return { state, reason };
    },
    domainGetInfo({ dom }) {
      const domain = host.domain(dom);
      const { memory, currentMemory } = domain.document;
      return {
        state: domain.state,
        maxMem: BigInt(memory?.$text ?? 0),
        memory: BigInt(currentMemory?.$text ?? 0),
        nrVirtCpu: vcpusOf(domain.document),
        cpuTime: cpuNanoseconds(host, domain),
      };
    },
    domainIsActive: ({ dom }) => ({ active: host.domain(dom).active ? 1 : 0 }),
    domainIsPersistent: ({ dom }) => ({ persistent: host.domain(dom).persistent === undefined ? 0 : 1 }),
    domainGetOsType: ({ dom }) => ({ type: host.domain(dom).document.os?.type?.$text ?? "hvm" }),
    domainGetMaxMemory: ({ dom }) => ({ memory: BigInt(host.domain(dom).document.memory?.$text ?? 0) }),
    domainGetMaxVcpus: ({ dom }) => ({ num: Number(host.domain(dom).document.vcpu?.$text ?? 1) }),
    domainGetAutostart: ({ dom }) => ({ autostart: host.domain(dom).autostart ? 1 : 0 }),
    domainSetAutostart({ dom, autostart }) {
      const domain = host.domain(dom);
      if (domain.persistent === undefined) throw invalidOperation("cannot set autostart for transient domain");
      domain.autostart = autostart !== 0;
      return {};
    },
    domainGetVcpusFlags({ dom, flags }) {
      const document = chosen(host.domain(dom), flags)[0] as DomainDocument;
      return { num: (flags & VCPU_MAXIMUM) !== 0 ? Number(document.vcpu?.$text ?? 1) : vcpusOf(document) };
    },
    domainSetVcpus: ({ dom, nvcpus }) => setVcpus(host.unlockedDomain(dom), nvcpus, IMPACT.live),
    domainSetVcpusFlags: ({ dom, nvcpus, flags }) => setVcpus(host.unlockedDomain(dom), nvcpus, flags),
    domainSetMaxMemory: ({ dom, memory }) => setMemory(host, host.unlockedDomain(dom), memory, MEMORY_MAXIMUM),
    domainSetMemory: ({ dom, memory }) => setMemory(host, host.unlockedDomain(dom), memory, IMPACT.live),
    domainSetMemoryFlags: ({ dom, memory, flags }) => setMemory(host, host.unlockedDomain(dom), memory, flags),
    domainSetMetadata({ dom, type, metadata, key, uri, flags }) {
      const domain = host.domain(dom);
      for (const document of chosen(domain, flags)) setMetadata(document, { type, metadata, key, uri });
      host.emit("domain", "metadataChange", { dom: domain.reference, type, nsuri: uri });
      return {};
    },
    domainGetMetadata({ dom, type, uri, flags }) {
      const [document] = chosen(host.domain(dom), flags);
      const metadata = document === undefined ? undefined : getMetadata(document, type, uri);
      if (metadata === undefined)
        throw refusal("noDomainMetadata", "domain", "Requested metadata element is not present");
      return { metadata };
    },
    domainGetControlInfo({ dom }) {
      host.activeDomain(dom);
      return { state: 0, details: 0, stateTime: 0n };
    },
    domainGetSchedulerType: () => ({ type: "posix", nparams: 10 }),
  };
}

/** The definitions that flags name: bit 1 the live one, bit 2 the persistent one, none the one that holds now. */
export function chosen(domain: DomainRecord, flags: number): readonly DomainDocument[] {
  const impact = flags & (IMPACT.live | IMPACT.config);
  if (impact === 0) return [domain.document];
  const documents: DomainDocument[] = [];
  if ((impact & IMPACT.live) !== 0) {
    if (domain.live === undefined) throw refusal("operationInvalid", "domain", "domain is not running");
    documents.push(domain.live);
  }
  if ((impact & IMPACT.config) !== 0) {
    if (domain.persistent === undefined)
      throw refusal("operationInvalid", "domain", "transient domains do not have any persistent config");
    documents.push(domain.persistent);
  }
  return documents;
}

export function vcpusOf({ vcpu }: DomainDocument): number {
  return Number(vcpu?.current ?? vcpu?.$text ?? 1);
}

function setVcpus(domain: DomainRecord, count: number, flags: number): Record<string, never> {
  if (count < 1) throw refusal("invalidArg", "domain", "nvcpus must be greater than zero");
  const documents = chosen(domain, flags);
  for (const document of documents) {
    const most = Number(document.vcpu?.$text ?? 1);
    if ((flags & VCPU_MAXIMUM) !== 0) {
      if (document === domain.live) throw refusal("invalidArg", "domain", "maximum vcpu count can't be changed live");
      document.vcpu = { ...document.vcpu, $text: count };
      if (vcpusOf(document) > count) delete document.vcpu.current;
    } else if (count > most)
      throw refusal("invalidArg", "qemu", `requested vcpus is greater than max allowable vcpus: ${count} > ${most}`);
    else if (count === most) delete (document.vcpu ??= {}).current;
    else document.vcpu = { ...document.vcpu, current: count };
  }
  return {};
}

function setMemory(host: HostState, domain: DomainRecord, kib: bigint, flags: number): Record<string, never> {
  for (const document of chosen(domain, flags)) {
    const most = BigInt(document.memory?.$text ?? 0);
    if ((flags & MEMORY_MAXIMUM) !== 0) {
      if (document === domain.live) throw invalidOperation("cannot resize the maximum memory on an active domain");
      document.memory = { unit: "KiB", $text: Number(kib) };
      if (BigInt(document.currentMemory?.$text ?? 0) > kib)
        document.currentMemory = { unit: "KiB", $text: Number(kib) };
      continue;
    }
    if (kib > most) throw refusal("invalidArg", "qemu", "cannot set memory higher than max memory");
    document.currentMemory = { unit: "KiB", $text: Number(kib) };
    if (document === domain.live && domain.state === DomainState.running)
      host.emit("domain", "balloonChange", { dom: domain.reference, actual: kib });
  }
  return {};
}

interface Metadata {
  readonly type: number;
  readonly metadata: string | undefined;
  readonly key: string | undefined;
  readonly uri: string | undefined;
}

function setMetadata(document: DomainDocument, { type, metadata, key, uri }: Metadata): void {
  if (type !== METADATA.element) {
    const name = type === METADATA.title ? "title" : "description";
    if (metadata === undefined) delete document[name];
    else document[name] = metadata;
    return;
  }
  const kept = elements(document).filter((element) => namespaceOf(element) !== uri);
  if (metadata !== undefined) kept.push(withNamespace(metadata, key ?? "app", uri ?? ""));
  document.metadata = { ...document.metadata, $content: kept };
}

function getMetadata(document: DomainDocument, type: number, uri: string | undefined): string | undefined {
  if (type !== METADATA.element) return type === METADATA.title ? document.title : document.description;
  const element = elements(document).find((each) => namespaceOf(each) === uri);
  if (element === undefined) return undefined;
  // It is given back as it was given: without its prefix.
  const plain = unprefixed(element);
  return formatXmlElement(plain);
}

type Content = NonNullable<NonNullable<DomainDocument["metadata"]>["$content"]>[number];
type Element = Exclude<Content, string>;

function elements(document: DomainDocument): Element[] {
  const content: readonly Content[] = document.metadata?.$content ?? [];
  return content.filter((item) => typeof item !== "string");
}

function namespaceOf({ name, attributes }: Element): string | undefined {
  const prefix = name.includes(":") ? name.slice(0, name.indexOf(":")) : "";
  return attributes?.[prefix === "" ? "xmlns" : `xmlns:${prefix}`];
}

function withNamespace(xml: string, key: string, uri: string): Element {
  const element = parseXmlElement(xml) as Element;
  return prefixed(element, key, { [`xmlns:${key}`]: uri });
}

function prefixed(element: Element, key: string, extra: Readonly<Record<string, string>> = {}): Element {
  const children = element.children?.map((child) => (typeof child === "string" ? child : prefixed(child, key)));
  const attributes = { ...extra, ...element.attributes };
  return {
    ...element,
    name: element.name.includes(":") ? element.name : `${key}:${element.name}`,
    attributes,
    ...(children === undefined ? {} : { children }),
  };
}

function unprefixed(element: Element): Element {
  const { name, attributes = {}, children } = element;
  const kept = Object.entries(attributes).filter(([attribute]) => !attribute.startsWith("xmlns:"));
  const inner = children?.map((child) => (typeof child === "string" ? child : unprefixed(child)));
  return {
    name: name.slice(name.indexOf(":") + 1),
    attributes: Object.fromEntries(kept),
    ...(inner === undefined ? {} : { children: inner }),
  };
}
