/** Sessions of the host's kernel with iSCSI targets, by `iscsiadm`. A password gets into its records as a file: never as an argument. */
import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Secret } from "../../core/index.js";
import { CommandError, writeFileAtomic } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import type { StorageServer } from "../disks/disk-source.js";
import { portalText } from "../disks/qemu-source.js";
import { StorageError } from "../errors.js";
import { throwUnless } from "../storage-failure.js";

export interface IscsiLogin {
  readonly target: string;
  readonly portal: StorageServer;
  readonly auth?: { readonly username: string; readonly password: Secret };
}

export interface IscsiSessionsOptions {
  readonly commands: CommandRunner;
  /** Directories in which iscsiadm may keep its records, by target; which of them it uses depends on the distribution. */
  readonly nodeDatabases: readonly string[];
  readonly commandMs: number;
}

/** `iscsiadm` says by its status that there is such a session, or no such record. */
const EXISTS = 15;
const NOT_FOUND = 21;
/** Units are looked for one by one: others of the target are none of this host's business. */
const SETTINGS = { "node.session.scan": "manual", "node.startup": "manual", "node.session.auth.authmethod": "None" };

export class IscsiSessions {
  readonly #options: IscsiSessionsOptions;

  constructor(options: IscsiSessionsOptions) {
    this.#options = options;
  }

  /** Success when there is one. @throws CommandError, StorageError, DeadlineExceededError; a record may be left, which `logout` removes */
  async login({ target, portal, auth }: IscsiLogin, signal: AbortSignal | undefined): Promise<void> {
    const node = ["-m", "node", "-T", target, "-p", portalText(portal)];
    await this.#run([...node, "-o", "new"], signal);
    const settings = auth === undefined ? SETTINGS : { ...SETTINGS, "node.session.auth.authmethod": "CHAP" };
    for (const [name, value] of Object.entries(settings))
      await this.#run([...node, "-o", "update", "-n", name, "-v", value], signal);
    if (auth !== undefined) await this.#writePassword(target, portal, auth);
    await this.#run([...node, "--login"], signal, EXISTS);
  }

  /** Ends all sessions with a target, and forgets it. Success when there are none. @throws CommandError, DeadlineExceededError */
  async logout(target: string): Promise<void> {
    await this.#run(["-m", "node", "-T", target, "--logout"], undefined, NOT_FOUND);
    await this.#run(["-m", "node", "-T", target, "-o", "delete"], undefined, NOT_FOUND);
  }

  async #writePassword(
    target: string,
    { host, port }: StorageServer,
    { username, password }: NonNullable<IscsiLogin["auth"]>,
  ): Promise<void> {
    const records = await this.#recordsOf(target, `${host},${port}`);
    if (records.length === 0)
      throw new StorageError("the host's iSCSI initiator keeps its records elsewhere", {
        remedy: "give nodeDatabases the directory that iscsiadm keeps its nodes in",
      });
    for (const path of records) {
      const lines = (await readFile(path, "utf8")).split("\n");
      const others = lines.filter((line) => !/^node\.session\.auth\.(?:username|password)\s*=/.test(line));
      const end = others.findIndex((line) => line.startsWith("# END RECORD"));
      const own = [`node.session.auth.username = ${username}`, `node.session.auth.password = ${password.reveal()}`];
      others.splice(end < 0 ? others.length : end, 0, ...own);
      await writeFileAtomic(path, others.join("\n"), { mode: 0o600 });
    }
  }

  /** A record is a file named after the portal; or, where the target's portal group is known, one for each interface in a directory of that name. */
  async #recordsOf(target: string, portal: string): Promise<readonly string[]> {
    const found: string[] = [];
    for (const database of this.#options.nodeDatabases) {
      const directory = join(database, target);
      const names = (await readdir(directory).catch(throwUnless("ENOENT"))) ?? [];
      for (const name of names.filter((entry) => entry === portal || entry.startsWith(`${portal},`))) {
        const path = join(directory, name);
        if ((await stat(path)).isFile()) found.push(path);
        else for (const file of await readdir(path)) found.push(join(path, file));
      }
    }
    return found;
  }

  async #run(words: readonly string[], signal: AbortSignal | undefined, alsoFine?: number): Promise<void> {
    const { commands, commandMs: timeoutMs } = this.#options;
    try {
      await commands.run(["iscsiadm", ...words], { timeoutMs, signal });
    } catch (error) {
      if (!(error instanceof CommandError) || alsoFine === undefined || error.exitCode !== alsoFine) throw error;
    }
  }
}
