// A certificate authority of a test, with a certificate for a server on this machine and one for a client.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./run.js";

export interface LabCertificates {
  /** Holds cacert.pem, clientcert.pem and clientkey.pem, under the names that libvirt's clients look for. */
  readonly clientDirectory: string;
  readonly ca: string;
  readonly serverCertificate: string;
  readonly serverKey: string;
}

/** Makes them with openssl in an existing directory. The server is `localhost` and 127.0.0.1. */
export async function makeCertificates(directory: string): Promise<LabCertificates> {
  const file = (name: string): string => join(directory, name);
  const ca = file("cacert.pem");
  const caKey = file("cakey.pem");
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  await run(["openssl", "req", "-x509", ...newKey, "-keyout", caKey, "-out", ca, "-days", "2", "-subj", "/CN=Lab CA"]);
  const issue = async (name: string, subject: string, extensions: string): Promise<void> => {
    const request = file(`${name}.csr`);
    const extra = file(`${name}.ext`);
    await writeFile(extra, extensions);
    await run(["openssl", "req", ...newKey, "-keyout", file(`${name}key.pem`), "-out", request, "-subj", subject]);
    const signer = ["-CA", ca, "-CAkey", caKey, "-CAcreateserial", "-days", "2"];
    await run([
      "openssl",
      "x509",
      "-req",
      "-in",
      request,
      "-out",
      file(`${name}cert.pem`),
      ...signer,
      "-extfile",
      extra,
    ]);
  };
  await issue("server", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n");
  await issue("client", "/CN=client", "extendedKeyUsage=clientAuth\n");
  return {
    clientDirectory: directory,
    ca,
    serverCertificate: file("servercert.pem"),
    serverKey: file("serverkey.pem"),
  };
}
