/** One rule of a table, and what may stand in its text. */
import { check, InvalidArgumentError } from "../../core/index.js";

/** What iptables takes. */
export const MAX_CHAIN_NAME = 28;

export interface RulePlace {
  /** False: the chain is another's, or a built-in one; default true: it is the owner's. */
  readonly wrap?: boolean;
  /** Before all rules that are not. Default false. */
  readonly top?: boolean;
}

const chainName = check.string({
  min: 1,
  max: MAX_CHAIN_NAME,
  pattern: /^[A-Za-z0-9_.][A-Za-z0-9_.-]*$/,
  expected: `1 to ${MAX_CHAIN_NAME} characters of A-Z a-z 0-9 _ . -`,
});

export class IptablesRule {
  /** As the kernel has it, with its owner's name. */
  readonly chain: string;
  /** All but the chain, `$` expanded. */
  readonly text: string;
  readonly wrap: boolean;
  readonly top: boolean;
  /** At the end of another's chain, whatever stands there. */
  readonly bottom: boolean;
  /** The chain or target that it goes to. */
  readonly target: string | undefined;

  /** Wants a text that was checked. */
  constructor(chain: string, text: string, place: RulePlace & { readonly bottom?: boolean } = {}) {
    this.chain = chain;
    this.text = text;
    this.wrap = place.wrap ?? true;
    this.top = place.top ?? false;
    this.bottom = place.bottom ?? false;
    this.target = targetOf(text);
  }

  equals(other: IptablesRule): boolean {
    const { chain, text, wrap, top } = this;
    return chain === other.chain && text === other.text && wrap === other.wrap && top === other.top;
  }

  /** `-A chain text`. */
  toString(): string {
    return `-A ${this.chain} ${this.text}`;
  }
}

/** @throws InvalidArgumentError for what iptables does not take, or takes for something else */
export function checkChainName(name: string, field = "chain"): string {
  return chainName(name, field);
}

/** The whole word after the last `-j` or `-g`: `inst-1` is not `inst-10`. */
export function targetOf(text: string): string | undefined {
  const words = wordsOf(text);
  const index = words.findLastIndex((word) => ["-j", "-g", "--jump", "--goto"].includes(word));
  return index < 0 ? undefined : words[index + 1];
}

const MAX_TEXT = 4_096;
/** Options of one dash that say something of a packet; all others are for whole tables, or for the program itself. */
const SHORT = ["-s", "-d", "-p", "-i", "-o", "-j", "-g", "-m", "-f"];
/** Options of two dashes that are not of a rule. iptables takes any beginning of them too. */
const LONG = [
  ...["append", "check", "delete", "insert", "replace", "list", "list-rules", "flush", "zero", "new-chain"],
  ...["delete-chain", "rename-chain", "policy", "table", "modprobe", "wait", "wait-interval", "verbose", "version"],
  ...["exact", "numeric", "line-numbers", "help", "noflush", "counters", "test", "ipv4", "ipv6"],
];
/** Options of matches that are a beginning of one of these. */
const TAKEN = new Set(["--pol", "--to"]);

/**
 * Refuses a text that would be more than one rule, or another command: line ends, what is not printable ASCII, quotes that hide something, and options that are not a rule's (`--modprobe`
 * runs a program).
 * @throws InvalidArgumentError
 */
export function checkRuleText(text: string, field = "rule"): string {
  const fail = (expected: string): never => {
    throw new InvalidArgumentError({ field, value: text, expected });
  };
  if (typeof text !== "string" || text.length === 0 || text.length > MAX_TEXT) fail(`1 to ${MAX_TEXT} characters`);
  if (!/^[ -[\]-~]+$/.test(text)) fail("printable ASCII without backslashes");
  const unquoted = text.replace(/(?<= )"(?!-)[^"]*"(?= |$)/g, '""');
  if (unquoted.replaceAll('""', "").includes('"')) fail("quotes in pairs, around whole words");
  for (const word of unquoted.split(" ")) {
    if (!word.startsWith("-")) continue;
    const [option = ""] = word.split("=");
    if (!option.startsWith("--") && !SHORT.includes(option)) fail(`a rule without ${option}`);
    if (option.startsWith("--") && !TAKEN.has(option) && LONG.some((long) => long.startsWith(option.slice(2))))
      fail(`a rule without ${option}`);
  }
  return text;
}

function wordsOf(text: string): string[] {
  return text
    .replace(/"[^"]*"/g, '""')
    .split(" ")
    .filter((word) => word !== "");
}
