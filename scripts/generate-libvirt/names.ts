/** From the names of C to ours: one rule for all of them. */

/** `GetXMLDesc` → get, xml, desc; `xml_desc` → xml, desc; `xmlCPUs` → xml, cpus. */
export function words(name: string): string[] {
  const plurals = name.replace(/([A-Z])([A-Z]+)s(?![a-z])/g, (_, first: string, rest: string) => {
    return `${first}${rest.toLowerCase()}s`;
  });
  const found = plurals.match(/[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+/g) ?? [];
  return found.map((word) => word.toLowerCase());
}

export function camelCase(parts: readonly string[]): string {
  return parts.map((word, i) => (i === 0 ? word : capital(word))).join("");
}

export function pascalCase(parts: readonly string[]): string {
  return parts.map(capital).join("");
}

/** A member's name as a key of an object literal. */
export function key(name: string): string {
  return /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name);
}

/** Words that the protocol writes as one where the C functions write two. */
const JOINED: ReadonlyMap<string, readonly string[]> = new Map([
  ["nwfilter", ["nw", "filter"]],
  ["iothread", ["io", "thread"]],
  ["iothreads", ["io", "threads"]],
  ["fsinfo", ["fs", "info"]],
  ["pmwakeup", ["pm", "wakeup"]],
  ["pmsuspend", ["pm", "suspend"]],
]);

/** The words of a name of the protocol. */
export function protocolWords(name: string): string[] {
  return words(name).flatMap((word) => JOINED.get(word) ?? [word]);
}

function capital(word: string): string {
  return word.slice(0, 1).toUpperCase() + word.slice(1);
}
