/** Which arguments of QMP and guest-agent commands are secrets, so that transcripts, traces and errors don't show them. */
import { Secret } from "../core/index.js";
import { isQmpObject } from "./qmp-value.js";

const REDACTED = "[redacted]";

/** Members that are secret in whatever command they occur. Ids of secrets (`password-secret`, `key-secret`) are none. */
const EVERYWHERE: ReadonlySet<string> = new Set(["password", "passphrase", "cookie", "proxy-password"]);

/** Members that are secret, or may well be, in these commands. */
const BY_COMMAND: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ["guest-exec", new Set(["input-data", "env", "arg"])],
  ["guest-file-write", new Set(["buf-b64"])],
]);

/** Commands whose replies may carry what a guest keeps secret. */
const SECRET_REPLIES: ReadonlySet<string> = new Set(["guest-file-read", "guest-exec-status"]);

/** Words of the human monitor that are followed by a password somewhere. */
const HMP_SECRET = /\b(set_password|change|object_add|block_passwd)\b/;

const SECRET_PROPERTY = /password|secret|data/i;

/** Calls back for every value of the arguments that is secret, with the object and the member that hold it. */
function visitSecrets(
  command: string,
  args: unknown,
  visit: (holder: Record<string, unknown>, member: string) => void,
): void {
  const own = BY_COMMAND.get(command);
  const walk = (value: unknown, depth: number): void => {
    if (depth > 16 || typeof value !== "object" || value === null) return;
    const object = value as Record<string, unknown>;
    const secretObject = typeof object["qom-type"] === "string" && object["qom-type"].startsWith("secret");
    for (const member of Object.keys(object)) {
      const isSecret =
        EVERYWHERE.has(member) ||
        own?.has(member) === true ||
        (secretObject && member === "data") ||
        Secret.is(object[member]);
      if (isSecret) visit(object, member);
      else walk(object[member], depth + 1);
    }
  };
  walk(args, 0);
  if (!isQmpObject(args)) return;
  const holder: Record<string, unknown> = args;
  const matches = (member: string, pattern: RegExp): boolean => {
    const text = holder[member];
    return typeof text === "string" && pattern.test(text);
  };
  if (command === "human-monitor-command" && matches("command-line", HMP_SECRET)) visit(holder, "command-line");
  if (command === "qom-set" && matches("property", SECRET_PROPERTY)) visit(holder, "value");
}

/** The secret texts among the arguments of a command. */
export function secretsOf(command: string, args: unknown): string[] {
  const secrets: string[] = [];
  const collect = (value: unknown): void => {
    if (typeof value === "string" && value !== "") secrets.push(value);
    else if (Secret.is(value)) secrets.push(value.reveal());
    else if (Array.isArray(value)) value.forEach(collect);
  };
  visitSecrets(command, args, (holder, member) => {
    // Arguments of programs are kept out of transcripts, but are too short and common to be hunted for in other texts.
    if (member !== "arg") collect(holder[member]);
  });
  if (command === "guest-set-user-password")
    secrets.push(...secrets.map((text) => Buffer.from(text, "base64").toString()));
  return secrets;
}

/** A copy of the arguments that may be logged. */
export function redactArguments(command: string, args: unknown): unknown {
  let secret = false;
  visitSecrets(command, args, () => (secret = true));
  if (!secret) return args;
  const copy = structuredClone(args);
  visitSecrets(command, copy, (holder, member) => (holder[member] = REDACTED));
  return copy;
}

/** Whether the reply to a command is not to be logged. */
export function hasSecretReply(command: string): boolean {
  return SECRET_REPLIES.has(command);
}
