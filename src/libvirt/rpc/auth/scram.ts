/** SCRAM (RFC 5802, RFC 7677): proves a password without sending it, and has the server prove that it knows it too. No I/O. */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import type { Secret } from "../../../core/index.js";
import { LibvirtAuthenticationError } from "../errors.js";

export const SCRAM_MECHANISMS = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"] as const;
export type ScramMechanism = (typeof SCRAM_MECHANISMS)[number];

const HASHES: Readonly<Record<ScramMechanism, { readonly name: string; readonly bytes: number }>> = {
  "SCRAM-SHA-512": { name: "sha512", bytes: 64 },
  "SCRAM-SHA-256": { name: "sha256", bytes: 32 },
  "SCRAM-SHA-1": { name: "sha1", bytes: 20 },
};

/** No channel binding; the same in both messages, here in base64. */
const GS2_HEADER = "n,,";
const CHANNEL_BINDING = Buffer.from(GS2_HEADER).toString("base64");
/** RFC 7677 asks for 4096; a server that asks for more than this wants to keep us busy. */
const MAX_ITERATIONS = 10_000_000;
const MAX_MESSAGE = 65_536;

const derive = promisify(pbkdf2);

export interface ScramOptions {
  readonly username: string;
  readonly password: Secret;
  /** Tests give their own. */
  readonly nonce?: string | undefined;
}

/** The client's side of one exchange: {@link ScramClient.first}, {@link ScramClient.respond}, {@link ScramClient.finish}. */
export class ScramClient {
  readonly #hash: { readonly name: string; readonly bytes: number };
  readonly #password: Secret;
  readonly #nonce: string;
  readonly #bare: string;
  #serverSignature: Buffer | undefined;
  #verified = false;

  constructor(mechanism: ScramMechanism, options: ScramOptions) {
    this.#hash = HASHES[mechanism];
    this.#password = options.password;
    this.#nonce = options.nonce ?? randomBytes(18).toString("base64");
    this.#bare = `n=${escapeName(options.username.normalize("NFKC"))},r=${this.#nonce}`;
  }

  /** Whether the server has proved that it knows the password. */
  get verified(): boolean {
    return this.#verified;
  }

  /** The first message. */
  first(): Buffer {
    return Buffer.from(GS2_HEADER + this.#bare);
  }

  /**
   * Answers the server's first message with the proof.
   * @throws LibvirtAuthenticationError when the message is none, or asks for what is not sound
   */
  async respond(serverFirst: Buffer): Promise<Buffer> {
    const text = readMessage(serverFirst);
    const { r: nonce, s: salt, i: rounds, m: mandatory } = attributesOf(text);
    if (mandatory !== undefined) throw failure("asks for an extension that is not known");
    if (nonce === undefined || !nonce.startsWith(this.#nonce) || nonce === this.#nonce)
      throw failure("does not continue the client's nonce");
    const saltBytes = salt === undefined ? undefined : decodeBase64(salt);
    if (saltBytes === undefined || saltBytes.length === 0) throw failure("gives no salt");
    const iterations = rounds !== undefined && /^[1-9]\d{0,8}$/.test(rounds) ? Number(rounds) : 0;
    if (iterations < 1 || iterations > MAX_ITERATIONS) throw failure("gives no sensible number of iterations");

    const password = this.#password.reveal().normalize("NFKC");
    const salted = await derive(password, saltBytes, iterations, this.#hash.bytes, this.#hash.name);
    const clientKey = this.#hmac(salted, "Client Key");
    const withoutProof = `c=${CHANNEL_BINDING},r=${nonce}`;
    const authMessage = `${this.#bare},${text},${withoutProof}`;
    const storedKey = createHash(this.#hash.name).update(clientKey).digest();
    const signature = this.#hmac(storedKey, authMessage);
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0)));
    this.#serverSignature = this.#hmac(this.#hmac(salted, "Server Key"), authMessage);
    return Buffer.from(`${withoutProof},p=${proof.toString("base64")}`);
  }

  /**
   * Checks the server's last message.
   * @throws LibvirtAuthenticationError when the server refuses, or does not know the password itself
   */
  finish(serverFinal: Buffer): void {
    const { v: verifier, e: error } = attributesOf(readMessage(serverFinal));
    if (error !== undefined) throw new LibvirtAuthenticationError("the daemon refused the user or the password");
    const given = verifier === undefined ? undefined : decodeBase64(verifier);
    const expected = this.#serverSignature;
    if (
      given === undefined ||
      expected === undefined ||
      given.length !== expected.length ||
      !timingSafeEqual(given, expected)
    )
      throw failure("does not prove that it knows the password");
    this.#verified = true;
  }

  #hmac(key: Buffer, text: string): Buffer {
    return createHmac(this.#hash.name, key).update(text).digest();
  }
}

function escapeName(name: string): string {
  return name.replaceAll("=", "=3D").replaceAll(",", "=2C");
}

function readMessage(message: Buffer): string {
  if (message.length > MAX_MESSAGE) throw failure("sends a message without end");
  return message.toString("utf8");
}

function attributesOf(text: string): Readonly<Partial<Record<string, string>>> {
  const attributes = new Map<string, string>();
  for (const part of text.split(",")) {
    if (part[1] !== "=") throw failure("sends a message that is none");
    attributes.set(part.slice(0, 1), part.slice(2));
  }
  return Object.fromEntries(attributes);
}

function decodeBase64(text: string): Buffer | undefined {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0 ? Buffer.from(text, "base64") : undefined;
}

function failure(what: string): LibvirtAuthenticationError {
  return new LibvirtAuthenticationError(`the daemon ${what}: the SCRAM exchange was broken off`);
}
