/** Both directions of a simulated guest's serial line, with a login and a small shell at the other end. */
import { Duplex } from "node:stream";
import { runProgram } from "./guest-programs.js";
import type { GuestCompanion, GuestRecord } from "./guest-record.js";

const LONGEST_LINE = 4_096;

export class SerialConsole extends Duplex implements GuestCompanion {
  readonly #record: GuestRecord;
  readonly #log: (text: string) => void;
  #line = "";
  #loggedIn = false;

  constructor(record: GuestRecord, log: (text: string) => void) {
    super({ decodeStrings: true });
    this.#record = record;
    this.#log = log;
    if (record.booted) this.#print(`\r\n${record.definition.name} login: `);
  }

  /** The guest has ended, and its console with it. */
  guestEnded(): void {
    this.push(null);
    this.end();
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    for (const character of chunk.toString("latin1")) this.#type(character);
    done();
  }

  #type(character: string): void {
    if (this.#record.state !== "running") return;
    if (character !== "\r" && character !== "\n") {
      if (this.#line.length < LONGEST_LINE) this.#line += character;
      return this.#print(character);
    }
    const line = this.#line.trim();
    this.#line = "";
    this.#print("\r\n");
    if (!this.#loggedIn) this.#loggedIn = line !== "";
    else this.#run(line);
    this.#print(this.#loggedIn ? `${this.#record.definition.name}:~# ` : `${this.#record.definition.name} login: `);
  }

  #run(line: string): void {
    if (line === "") return;
    const { stdout, stderr } = runProgram(this.#record, line.split(/\s+/));
    this.#print(Buffer.from(stdout).toString().replaceAll("\n", "\r\n"));
    this.#print(Buffer.from(stderr).toString().replaceAll("\n", "\r\n"));
  }

  #print(text: string): void {
    if (text === "") return;
    this.#log(text);
    if (!this.readableEnded) this.push(Buffer.from(text));
  }
}
