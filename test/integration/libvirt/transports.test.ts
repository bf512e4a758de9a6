/** The ways to reach a real daemon: TLS with certificates of our own, SASL, and programs such as ssh. */
import { chmod, mkdir, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LibvirtConnection } from "../../../src/libvirt/rpc/index.js";
import type { LibvirtConnectionOptions } from "../../../src/libvirt/rpc/index.js";
import { requirePackages, run, temporaryDirectory } from "../../lab/index.js";
import type { TemporaryDirectory } from "../../lab/index.js";
import { makeCertificates } from "../../lab/certificates.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../lab/libvirtd.js";

const PASSWORD = "not, a=secret";
let directory: TemporaryDirectory;
let daemon: LabLibvirtd;

/** One daemon for all: TLS with client certificates, SASL on its socket, none on TCP and on the socket for reading. */
beforeAll(async () => {
  requirePackages("saslpasswd2", "openssl");
  directory = await temporaryDirectory();
  const { ca, serverCertificate, serverKey } = await makeCertificates(directory.path);
  const database = directory.file("passwd.db");
  await run([
    "sh",
    "-c",
    `printf '%s' "$1" | saslpasswd2 -p -c -a libvirt -u "$2" -f "$3" admin`,
    "sh",
    PASSWORD,
    hostname(),
    database,
  ]);
  daemon = await startLibvirtd({
    listen: true,
    port: 16_709,
    sasl: { "libvirt.conf": `mech_list: scram-sha-256 scram-sha-1 plain\nsasldb_path: ${database}\n` },
    config: [
      "listen_tls = 1",
      `ca_file = "${ca}"`,
      `cert_file = "${serverCertificate}"`,
      `key_file = "${serverKey}"`,
      'auth_tls = "none"',
      'auth_unix_rw = "sasl"',
    ],
  });
});

afterAll(async () => {
  await daemon?.remove();
  await directory?.remove();
});

async function uriAt(uri: string, options: LibvirtConnectionOptions = {}): Promise<string> {
  await using connection = await LibvirtConnection.open(uri, options);
  return (await connection.call("connectGetUri")).uri;
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

describe("TLS", () => {
  const at = (host: string, more = ""): string =>
    `test+tls://${host}:${daemon.tlsPort}/default?pkipath=${directory.path}${more}`;

  it("connects with the certificates of pkipath, by name and by address", async () => {
    expect(await uriAt(at("localhost"))).toBe("test:///default");
    expect(await uriAt(at("127.0.0.1"))).toBe("test:///default");
  });

  it("refuses a daemon that is vouched for by nobody, or goes by another name, unless told not to look", async () => {
    const strangers = directory.file("strangers");
    await mkdir(strangers);
    await makeCertificates(strangers);
    const stranger = `test+tls://localhost:${daemon.tlsPort}/default?pkipath=${strangers}`;
    expect(await rejection(uriAt(stranger))).toMatchObject({ code: "LIBVIRT_AUTHENTICATION_FAILED" });
    expect(await rejection(uriAt(at("127.0.0.2")))).toMatchObject({
      code: expect.stringMatching(/AUTHENTICATION|CONNECT/) as unknown,
    });
    expect(await rejection(uriAt(`${stranger}&no_verify=1`))).toMatchObject({ code: "LIBVIRT_AUTHENTICATION_FAILED" });
  });

  it("says that the daemon wants a certificate when there is none", async () => {
    const bare = directory.file("bare");
    await mkdir(bare);
    await run(["cp", directory.file("cacert.pem"), bare]);
    const error = await rejection(uriAt(`test+tls://localhost:${daemon.tlsPort}/default?pkipath=${bare}`));
    expect(error).toMatchObject({ code: "LIBVIRT_AUTHENTICATION_FAILED" });
    await rm(`${bare}/cacert.pem`);
    expect(await rejection(uriAt(`test+tls://localhost:${daemon.tlsPort}/default?pkipath=${bare}`))).toMatchObject({
      code: "LIBVIRT_CONNECT_FAILED",
      remedy: expect.stringContaining("pkipath") as unknown,
    });
  });
});

describe("SASL", () => {
  const credentials = { username: "admin", password: PASSWORD };

  it.each(["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])(
    "proves the user by %s, and the daemon by SCRAM",
    async (mechanism) => {
      expect(await uriAt(`${daemon.uri("test")}&auth=sasl.${mechanism}`, { credentials })).toBe("test:///default");
    },
  );

  it("asks the embedder, or reads auth.conf", async () => {
    const asked: string[] = [];
    const uri = await uriAt(daemon.uri("test"), {
      credentials: ({ mechanisms, host }) => {
        asked.push(host, ...mechanisms);
        return Promise.resolve(credentials);
      },
    });
    expect(uri).toBe("test:///default");
    expect(asked).toEqual(expect.arrayContaining(["localhost", "SCRAM-SHA-256"]));

    const authFile = directory.file("auth.conf");
    await writeFile(
      authFile,
      `[credentials-lab]\nusername=admin\npassword=${PASSWORD}\n\n[auth-libvirt-localhost]\ncredentials=lab\n`,
    );
    expect(await uriAt(`${daemon.uri("test")}&authfile=${authFile}`)).toBe("test:///default");
  });

  it("fails with a wrong password, which it does not show, and without one", async () => {
    const wrong = await rejection(
      uriAt(daemon.uri("test"), { credentials: { username: "admin", password: "guess-me" } }),
    );
    expect(wrong).toMatchObject({ code: "LIBVIRT_AUTHENTICATION_FAILED" });
    expect(JSON.stringify(wrong)).not.toContain("guess-me");
    const authfile = `&authfile=${directory.file("none.conf")}`;
    expect(await rejection(uriAt(daemon.uri("test") + authfile))).toMatchObject({
      remedy: expect.stringContaining("auth.conf") as unknown,
    });
  });
});

describe("a program between", () => {
  it("is run as ssh would be, and reaches the daemon through the other host's netcat", async () => {
    const ssh = directory.file("ssh");
    const netcat = directory.file("nc's twin");
    await writeFile(ssh, `#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n`);
    await writeFile(
      netcat,
      `#!${process.execPath}\nconst { connect } = require("node:net");\nif (process.argv[2] === "-q") process.exit(1);\n` +
        `const socket = connect(process.argv[3]);\nprocess.stdin.pipe(socket).pipe(process.stdout);\n`,
    );
    await Promise.all([ssh, netcat].map((path) => chmod(path, 0o755)));
    const query = `command=${ssh}&netcat=${encodeURIComponent(netcat)}&socket=${daemon.readOnlySocket}&no_tty=1`;
    expect(await uriAt(`test+ssh://admin@elsewhere:22/default?${query}`, { readOnly: true })).toBe("test:///default");
  });

  it("tells what a program said that failed", async () => {
    const failing = directory.file("failing");
    await writeFile(failing, `#!/bin/sh\necho "no route to elsewhere" >&2\nexit 255\n`);
    await chmod(failing, 0o755);
    expect(await rejection(uriAt(`test+ssh://elsewhere/default?command=${failing}`))).toMatchObject({
      code: "LIBVIRT_CONNECT_FAILED",
      detail: "no route to elsewhere",
    });
    expect(await rejection(uriAt(`test+ext://elsewhere/default?command=${directory.file("absent")}`))).toMatchObject({
      code: "LIBVIRT_CONNECT_FAILED",
    });
  });
});
