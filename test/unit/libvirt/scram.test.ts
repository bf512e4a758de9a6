import { describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/index.js";
import { ScramClient } from "../../../src/libvirt/rpc/auth/scram.js";
import type { ScramMechanism } from "../../../src/libvirt/rpc/auth/scram.js";
import { rejection } from "./support/fake-peer.js";

interface Exchange {
  readonly mechanism: ScramMechanism;
  readonly nonce: string;
  readonly serverFirst: string;
  readonly clientFinal: string;
  readonly serverFinal: string;
}

/** The examples of RFC 5802 and RFC 7677. */
const EXCHANGES: readonly Exchange[] = [
  {
    mechanism: "SCRAM-SHA-1",
    nonce: "fyko+d2lbbFgONRv9qkxdawL",
    serverFirst: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    clientFinal: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    serverFinal: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
  },
  {
    mechanism: "SCRAM-SHA-256",
    nonce: "rOprNGfwEbeRWgbNEkqO",
    serverFirst: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    clientFinal:
      "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
  },
];

function client({ mechanism, nonce }: Pick<Exchange, "mechanism" | "nonce">, username = "user"): ScramClient {
  return new ScramClient(mechanism, { username, password: Secret.of("pencil"), nonce });
}

describe("SCRAM", () => {
  it.each(EXCHANGES)("makes the exchange of its RFC ($mechanism)", async (exchange) => {
    const scram = client(exchange);
    expect(scram.first().toString()).toBe(`n,,n=user,r=${exchange.nonce}`);
    expect((await scram.respond(Buffer.from(exchange.serverFirst))).toString()).toBe(exchange.clientFinal);
    expect(scram.verified).toBe(false);
    scram.finish(Buffer.from(exchange.serverFinal));
    expect(scram.verified).toBe(true);
  });

  it.each(EXCHANGES)("does not believe a server that can't prove itself ($mechanism)", async (exchange) => {
    for (const final of [
      "",
      "v=",
      "v=AAAA",
      `v=${"A".repeat(27)}=`,
      "e=invalid-proof",
      "x",
      exchange.serverFinal.replace("=", "=z"),
    ]) {
      const scram = client(exchange);
      await scram.respond(Buffer.from(exchange.serverFirst));
      expect(() => scram.finish(Buffer.from(final))).toThrow(
        expect.objectContaining({ code: "LIBVIRT_AUTHENTICATION_FAILED" }),
      );
      expect(scram.verified).toBe(false);
    }
    expect(() => client(exchange).finish(Buffer.from(exchange.serverFinal))).toThrow();
  });

  it.each([
    ["another nonce", "r=other,s=QSXCR+Q6sek8bf92,i=4096"],
    ["no more nonce than ours", "r=fyko+d2lbbFgONRv9qkxdawL,s=QSXCR+Q6sek8bf92,i=4096"],
    ["no salt", "r=fyko+d2lbbFgONRv9qkxdawL3,i=4096"],
    ["a salt that is none", "r=fyko+d2lbbFgONRv9qkxdawL3,s=!!,i=4096"],
    ["no iterations", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=0"],
    ["iterations without end", "r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=999999999"],
    ["an extension", "m=x,r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=4096"],
    ["nothing", ""],
    ["a message without end", `r=${"a".repeat(100_000)}`],
  ])("breaks off at %s", async (_, serverFirst) => {
    const scram = client({ mechanism: "SCRAM-SHA-1", nonce: "fyko+d2lbbFgONRv9qkxdawL" });
    expect(await rejection(scram.respond(Buffer.from(serverFirst)))).toMatchObject({
      code: "LIBVIRT_AUTHENTICATION_FAILED",
    });
  });

  it("escapes names", () => {
    const scram = client({ mechanism: "SCRAM-SHA-1", nonce: "n" }, "a=b,c");
    expect(scram.first().toString()).toBe("n,,n=a=3Db=2Cc,r=n");
  });
});
