import { spawn } from "node:child_process";
import { copyFile, mkdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { MemoryStateStore, Secret } from "../../../src/core/index.js";
import {
  IscsiVolumeConnector,
  LuksFormat,
  MemorySecretStore,
  NbdVolumeConnector,
  SourceInspector,
} from "../../../src/storage/index.js";
import type { EncryptedSource, VolumeConnection } from "../../../src/storage/index.js";
import { makeCertificates } from "../../lab/certificates.js";
import { requirePackages, waitForFile, withTemporaryDirectory } from "../../lab/index.js";
import { CHAP, ISCSI_TARGET, during, freePort, withIscsiTarget } from "./iscsi-target.js";
import { MIB } from "./support.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const OTHER = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b002";
const quick = { iterationMs: 10 } as const;

beforeAll(() => requirePackages("qemu-img", "qemu-nbd", "openssl", "tgtd", "QEMU's iSCSI driver"));

describe("a volume of an iSCSI target", () => {
  it("is reached by QEMU's own initiator, shared, extended, and encrypted there", () =>
    withTemporaryDirectory(({ path: root }) =>
      withIscsiTarget(root, async (port, grow) => {
        const secrets = new MemorySecretStore();
        await secrets.put("chap", Secret.of(CHAP.password));
        await secrets.put("key", Secret.of("passphrase of the volume"));
        const connector = new IscsiVolumeConnector({ state: new MemoryStateStore(), secrets, connectMs: 60_000 });
        const portal = { host: "127.0.0.1", port };
        const data = { portals: [portal], target: ISCSI_TARGET, lun: 1 };
        const auth = { username: CHAP.username, secretId: "chap" };
        const volume: VolumeConnection = {
          volumeId: "vol-1",
          type: "iscsi",
          data: { ...data, auth },
          multiattach: true,
        };
        const { portals: _, ...unit } = data;
        const source = { type: "iscsi", format: "raw", portal, ...unit, auth } as const;
        expect(await connector.connect(volume, UUID)).toEqual(source);
        expect(await connector.connect(volume, OTHER)).toEqual(source);
        expect(await connector.instancesOf("vol-1")).toEqual([UUID, OTHER]);
        await connector.disconnect(volume, UUID);
        expect(await connector.instancesOf("vol-1")).toEqual([OTHER]);

        const encryption = { format: "luks", secretId: "key" } as const;
        const guestBytes = await new LuksFormat({ secrets }).format({ ...source, encryption }, quick);
        expect(guestBytes).toBeLessThan(8 * MIB);
        expect((await readFile(join(root, "unit.img"))).subarray(0, 4).toString()).toBe("LUKS");
        expect(await new SourceInspector({ secrets }).guestBytes({ ...source, encryption })).toBe(guestBytes);
        await grow(12 * MIB);
        expect(await connector.extend({ ...volume, encryption }, OTHER, 12 * MIB)).toBe(12 * MIB);

        const wrong = { ...volume, volumeId: "vol-2" };
        await secrets.put("chap", Secret.of("some-other-secret"));
        const error: unknown = await connector.connect(wrong, UUID).catch((reason: unknown) => reason);
        expect(error).toMatchObject({ code: "VOLUME_CONNECT_FAILED", device: "vol-2" });
        expect(inspect(error, { depth: 9 })).not.toContain("some-other-secret");
        await secrets.delete("chap");
        await expect(connector.connect(wrong, UUID)).rejects.toMatchObject({ code: "SECRET_NOT_FOUND" });
        expect(await connector.instancesOf("vol-2")).toEqual([]);
      }),
    ));
});

describe("a volume of an NBD server", () => {
  it("is reached over TLS, by the certificates of this host alone", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      const [pki, server, client] = [join(root, "pki"), join(root, "server"), join(root, "client")];
      for (const directory of [pki, server, client]) await mkdir(directory);
      const made = await makeCertificates(pki);
      for (const directory of [server, client]) await copyFile(made.ca, join(directory, "ca-cert.pem"));
      await copyFile(made.serverCertificate, join(server, "server-cert.pem"));
      await copyFile(made.serverKey, join(server, "server-key.pem"));
      for (const part of ["cert", "key"])
        await copyFile(join(pki, `client${part}.pem`), join(client, `client-${part}.pem`));
      await writeFile(join(root, "volume"), "");
      await truncate(join(root, "volume"), 4 * MIB);
      const port = await freePort();
      const creds = `tls-creds-x509,id=tls,endpoint=server,dir=${server},verify-peer=on`;
      const pidFile = join(root, "pid");
      const where = ["-b", "127.0.0.1", "-p", String(port), "--pid-file", pidFile];
      const process = spawn(
        "qemu-nbd",
        ["-t", "-f", "raw", "--object", creds, "--tls-creds", "tls", ...where, join(root, "volume")],
        { stdio: "ignore" },
      );
      await during(process, async () => {
        await waitForFile(pidFile);
        const connector = new NbdVolumeConnector({ state: new MemoryStateStore(), connectMs: 60_000 });
        const inet = { type: "inet", host: "127.0.0.1", port } as const;
        const plain: VolumeConnection = { volumeId: "vol-1", type: "nbd", data: { server: inet } };
        await expect(connector.connect(plain, UUID)).rejects.toMatchObject({ code: "VOLUME_CONNECT_FAILED" });
        const tls = { directory: client };
        const right = { ...plain, data: { server: inet, tls } };
        expect(await connector.connect(right, UUID)).toEqual({
          type: "nbd",
          server: inet,
          exportName: "",
          format: "raw",
          tls,
        });
        expect(await connector.extend(right, UUID, 1)).toBe(4 * MIB);
        const another = { ...plain, volumeId: "vol-2", data: { server: inet, tls: { ...tls, hostname: "elsewhere" } } };
        await expect(connector.connect(another, UUID)).rejects.toMatchObject({ code: "VOLUME_CONNECT_FAILED" });
      });
    }));
});

describe("LUKS containers", () => {
  it("are made, recognised, grown, given another key, and never made over one another", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      const secrets = new MemorySecretStore();
      await secrets.put("one", Secret.of("first, passphrase=1"));
      await secrets.put("two", Secret.of("second"));
      const luks = new LuksFormat({ secrets });
      const path = join(root, "a,b=c.luks");
      const source: EncryptedSource = {
        type: "file",
        path,
        format: "raw",
        encryption: { format: "luks", secretId: "one" },
      };
      const guestBytes = await luks.format(source, { sizeBytes: 6 * MIB, ...quick });
      expect((await stat(path)).size).toBe(6 * MIB);
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      expect(await luks.isLuks(path)).toBe(true);
      await expect(luks.format(source, quick)).rejects.toMatchObject({ code: "CONFLICT" });
      await expect(luks.format(source, { sizeBytes: 6 * MIB })).rejects.toMatchObject({ field: "request.sizeBytes" });
      expect(await luks.grow(source, 9 * MIB)).toBe(guestBytes + 3 * MIB);
      await expect(luks.grow(source, 8 * MIB)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });

      const changed = await luks.changeKey(source, "two", quick);
      expect(changed.encryption.secretId).toBe("two");
      expect(await luks.requireKey(changed)).toBe(guestBytes + 3 * MIB);
      await expect(luks.requireKey(source, { device: "vol-1" })).rejects.toMatchObject({
        code: "DISK_KEY_REFUSED",
        device: "vol-1",
      });
      expect(await luks.changeKey(source, "two", quick)).toEqual(changed);

      const small: EncryptedSource = { ...source, type: "file", path: join(root, "small") };
      await expect(luks.format(small, { sizeBytes: MIB })).rejects.toMatchObject({ field: "request.sizeBytes" });
      await expect(
        luks.format({ ...small, encryption: { format: "luks", secretId: "none" } }, { sizeBytes: 6 * MIB }),
      ).rejects.toMatchObject({ code: "SECRET_NOT_FOUND" });
      await expect(stat(join(root, "small"))).rejects.toMatchObject({ code: "ENOENT" });
      await writeFile(join(root, "small"), "LUKS");
      expect(await luks.isLuks(join(root, "small"))).toBe(false);
      await expect(luks.isLuks(join(root, "none"))).rejects.toMatchObject({ code: "STORAGE_FAILED", errno: "ENOENT" });
      await expect(luks.requireKey(small)).rejects.toMatchObject({ code: "DISK_KEY_REFUSED" });
    }));
});
