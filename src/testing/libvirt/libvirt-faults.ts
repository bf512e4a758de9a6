/** What goes wrong at a fake daemon, and when: refusals, silence, delays, hang-ups and damaged replies. */
import type { FakeProcedureName } from "./fake-call.js";
import type { FakeLibvirtErrorDetails } from "./fake-libvirt-error.js";

/** Which calls a fault strikes. */
export interface LibvirtFaultFilter {
  /** Only the nth of the calls that match, counted from 1 when the fault is set. Default: all of them. */
  readonly nth?: number | undefined;
  /** How many calls it strikes at most. Default: one with `nth`, otherwise any number. */
  readonly times?: number | undefined;
  /** `before`: the call has no effect. `after`: it was carried out, and its caller is not told so. Default: `before`. */
  readonly at?: "before" | "after" | undefined;
  /** Looks at the arguments. */
  readonly when?: ((args: unknown) => boolean) | undefined;
}

/** Changes the bytes of a reply, the length included. What is left of them is sent; `hangUp` ends the connection after it. */
export type ReplyDamage = (frame: Buffer) => Buffer | { readonly bytes: Buffer; readonly hangUp: true };

/** What strikes. */
export type LibvirtStrike =
  | { readonly kind: "refuse"; readonly error: FakeLibvirtErrorDetails }
  | { readonly kind: "silence" }
  | { readonly kind: "hangUp" }
  | { readonly kind: "delay"; readonly ms: number }
  | { readonly kind: "damage"; readonly damage: ReplyDamage };

/** A fault that was set. */
export interface LibvirtFault {
  /** How often it struck. */
  readonly hits: number;
  /** Takes it back. */
  remove(): void;
}

class Rule implements LibvirtFault {
  hits = 0;
  #seen = 0;
  readonly strike: LibvirtStrike;
  readonly #target: string;
  readonly #filter: LibvirtFaultFilter;
  readonly #forget: (rule: Rule) => void;

  constructor(target: string, strike: LibvirtStrike, filter: LibvirtFaultFilter, forget: (rule: Rule) => void) {
    this.#target = target;
    this.strike = strike;
    this.#filter = filter;
    this.#forget = forget;
  }

  get stage(): "before" | "after" {
    return this.#filter.at ?? "before";
  }

  takes(name: string, args: unknown): boolean {
    const { nth, times = nth === undefined ? Infinity : 1, when } = this.#filter;
    if (this.#target !== "*" && this.#target !== name) return false;
    if (when?.(args) === false) return false;
    this.#seen++;
    if ((nth !== undefined && this.#seen < nth) || this.hits >= times) return false;
    this.hits++;
    return true;
  }

  remove(): void {
    this.#forget(this);
  }
}

/** The faults of one fake daemon. A name of `*` stands for every call, those that open a connection included. */
export class LibvirtFaults {
  readonly #rules = new Set<Rule>();

  /** Refuses calls. */
  refuse(name: FakeProcedureName | "*", error: FakeLibvirtErrorDetails, filter: LibvirtFaultFilter = {}): LibvirtFault {
    return this.#add(name, { kind: "refuse", error }, filter);
  }

  /** Leaves calls without a reply. */
  silence(name: FakeProcedureName | "*", filter: LibvirtFaultFilter = {}): LibvirtFault {
    return this.#add(name, { kind: "silence" }, filter);
  }

  /** Ends the connection instead of a reply. */
  hangUp(name: FakeProcedureName | "*", filter: LibvirtFaultFilter = {}): LibvirtFault {
    return this.#add(name, { kind: "hangUp" }, filter);
  }

  /** Makes calls take `ms` milliseconds of the server's clock longer. */
  delay(name: FakeProcedureName | "*", ms: number, filter: LibvirtFaultFilter = {}): LibvirtFault {
    return this.#add(name, { kind: "delay", ms }, filter);
  }

  /** Damages replies; see {@link REPLY_DAMAGES} for usual ways. The calls are carried out. */
  damage(
    name: FakeProcedureName | "*",
    damage: ReplyDamage,
    filter: Omit<LibvirtFaultFilter, "at"> = {},
  ): LibvirtFault {
    return this.#add(name, { kind: "damage", damage }, { ...filter, at: "after" });
  }

  /** Takes all faults back. */
  clear(): void {
    this.#rules.clear();
  }

  /** What strikes a call, in the order in which the faults were set. @internal */
  match(
    name: string,
    args: unknown,
  ): readonly { readonly stage: "before" | "after"; readonly strike: LibvirtStrike }[] {
    return [...this.#rules].filter((rule) => rule.takes(name, args));
  }

  #add(target: string, strike: LibvirtStrike, filter: LibvirtFaultFilter): LibvirtFault {
    const rule = new Rule(target, strike, filter, (gone) => void this.#rules.delete(gone));
    this.#rules.add(rule);
    return rule;
  }
}

const OFFSET = { length: 0, program: 4, version: 8, procedure: 12, type: 16, serial: 20, status: 24 } as const;

function withNumber(field: keyof typeof OFFSET, change: (value: number) => number): ReplyDamage {
  return (frame) => {
    const copy = Buffer.from(frame);
    copy.writeUInt32BE(change(copy.readUInt32BE(OFFSET[field])) >>> 0, OFFSET[field]);
    return copy;
  };
}

/** Ways in which a peer breaks the protocol. */
export const REPLY_DAMAGES = {
  wrongSerial: withNumber("serial", (serial) => serial + 1000),
  wrongProcedure: withNumber("procedure", (procedure) => procedure + 1),
  wrongProgram: withNumber("program", (program) => program + 7),
  wrongType: withNumber("type", () => 9),
  wrongStatus: withNumber("status", () => 7),
  negativeLength: withNumber("length", () => -1),
  shortLength: withNumber("length", () => 27),
  oversized: withNumber("length", () => 33_554_437),
  garbage: (frame: Buffer) => Buffer.alloc(frame.length, 0xa5),
  twice: (frame: Buffer) => Buffer.concat([frame, frame]),
} as const satisfies Readonly<Record<string, ReplyDamage>>;

/** Sends the first `bytes` bytes of a reply and ends the connection. */
export function cutReply(bytes: number): ReplyDamage {
  return (frame) => ({ bytes: frame.subarray(0, bytes), hangUp: true });
}
