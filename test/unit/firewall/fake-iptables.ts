// The kernel's tables and the programs of iptables, as far as the manager speaks to them. Rules are told in other words than they were given in, as iptables does.
import type { CommandOptions, CommandResult, CommandRunner } from "../../../src/host/index.js";
import { CommandError } from "../../../src/host/index.js";

interface FakeRule {
  text: string;
  packets: number;
}

type FakeTable = Map<string, FakeRule[]>;

const BUILT_IN: Record<string, readonly string[]> = {
  filter: ["INPUT", "FORWARD", "OUTPUT"],
  nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
  mangle: ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
};

/** As `iptables-save` tells it: addresses first, with their prefix, and the target last. */
export function canonical(text: string): string {
  const words = text.split(" ").map((word) => (/^\d+\.\d+\.\d+\.\d+$/.test(word) ? `${word}/32` : word));
  const take = (option: string): string[] => {
    const index = words.indexOf(option);
    return index < 0 ? [] : words.splice(index, 2);
  };
  const [source, destination, jump, goto] = ["-s", "-d", "-j", "-g"].map(take) as [
    string[],
    string[],
    string[],
    string[],
  ];
  return [...source, ...destination, ...words, ...jump, ...goto].join(" ");
}

export class FakeIptables implements CommandRunner {
  /** By family and table: `4 filter`. */
  tables = new Map<string, FakeTable>();
  /** Inputs of `-restore`, newest last. */
  readonly scripts: string[] = [];
  readonly argv: (readonly string[])[] = [];
  /** Runs before each command: what other programs do meanwhile. */
  meanwhile: (argv: readonly string[]) => void = () => undefined;
  /** Commands that are refused. */
  refuses: (argv: readonly string[], input: string) => boolean = () => false;

  table(family: 4 | 6, name: string): FakeTable {
    const key = `${family} ${name}`;
    const found = this.tables.get(key) ?? new Map((BUILT_IN[name] ?? []).map((chain) => [chain, []]));
    this.tables.set(key, found);
    return found;
  }

  /** Rules of a chain, as the kernel tells them. */
  rules(family: 4 | 6, table: string, chain: string): string[] | undefined {
    return this.table(family, table)
      .get(chain)
      ?.map(({ text }) => text);
  }

  /** What another program does. */
  run4(...lines: readonly string[]): void {
    this.#restore(4, `*filter\n${lines.join("\n")}\nCOMMIT\n`);
  }

  async run(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    await Promise.resolve();
    this.argv.push(argv);
    this.meanwhile(argv);
    const [program = ""] = argv;
    const input = String(options.input ?? "");
    if (this.refuses(argv, input)) throw failure(argv);
    const family = program.startsWith("ip6") ? 6 : 4;
    if (program.endsWith("-save")) return result(this.#save(family, argv.at(-1) ?? ""));
    if (argv.includes("--version")) return result("");
    this.scripts.push(input);
    const before = structuredClone(this.tables);
    try {
      return result(this.#restore(family, input));
    } catch {
      this.tables = before;
      throw failure(argv);
    }
  }

  #save(family: 4 | 6, name: string): string {
    const table = this.table(family, name);
    const chains = [...table.keys()].map((chain) => `:${chain} - [0:0]\n`).join("");
    const rules = [...table].flatMap(([chain, list]) =>
      list.map(({ text, packets }) => `[${packets}:${packets * 40}] -A ${chain} ${text}\n`),
    );
    return `*${name}\n${chains}${rules.join("")}COMMIT\n`;
  }

  #restore(family: 4 | 6, input: string): string {
    let table: FakeTable = new Map();
    let output = "";
    for (const line of input.split("\n")) {
      if (line.startsWith("*")) table = this.table(family, line.slice(1));
      else if (line.startsWith(":")) table.set(line.slice(1).split(" ")[0] ?? "", []);
      else if (line !== "" && line !== "COMMIT") output += edit(table, line);
    }
    return output;
  }
}

function edit(table: FakeTable, line: string): string {
  const [, counted, command, chain = "", rest = ""] =
    /^(?:\[(\d+):\d+\] )?(-[A-Z]|-v -S) (\S+) ?(.*)$/.exec(line) ?? bad(line);
  if (command === "-N") {
    if (table.has(chain)) bad(line);
    table.set(chain, []);
    return "";
  }
  const rules = table.get(chain) ?? bad(line);
  const packets = Number(counted ?? 0);
  const [, position = "1", spec = rest] = command === "-I" ? (/^(?:(\d+) )?(.*)$/.exec(rest) ?? []) : [];
  const text = canonical(spec);
  const index = rules.findIndex((rule) => rule.text === text);
  const target = /-[jg] (\S+)$/.exec(text)?.[1];
  if ((command === "-A" || command === "-I") && target !== undefined && !/^[A-Z]+$/.test(target) && !table.has(target))
    bad(line);
  switch (command) {
    case "-A":
      rules.push({ text, packets });
      break;
    case "-I":
      if (Number(position) > rules.length + 1) bad(line);
      rules.splice(Number(position) - 1, 0, { text, packets });
      break;
    case "-D":
      if (index < 0) bad(line);
      rules.splice(index, 1);
      break;
    case "-C":
      if (index < 0) bad(line);
      break;
    case "-F":
      rules.length = 0;
      break;
    case "-X": {
      const isUsed = [...table.values()].flat().some((rule) => new RegExp(`-[jg] ${chain}$`).test(rule.text));
      if (rules.length > 0 || isUsed) bad(line);
      table.delete(chain);
      break;
    }
    case "-v -S": {
      const told = rules.map((rule) => {
        const [, matches = "", end = ""] = /^(.*?)( ?-[jg] .*)?$/.exec(rule.text) ?? [];
        return `-A ${chain} ${matches} -c ${rule.packets} ${rule.packets * 40}${end}\n`.replace(/ {2,}/g, " ");
      });
      return `-N ${chain}\n${told.join("")}`;
    }
    default:
      bad(line);
  }
  return "";
}

function bad(line: string): never {
  throw new Error(`refused: ${line}`);
}

function failure(argv: readonly string[]): CommandError {
  return new CommandError({ argv, exitCode: 1, stderr: "refused" });
}

function result(stdout: string): CommandResult {
  return { stdout, stderr: "", exitCode: 0 };
}
