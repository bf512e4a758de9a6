import { describe, expect, it } from "vitest";
import type { GuestDisk } from "../../../src/driver/index.js";
import { blockNodes } from "../../../src/kvm/plan/block-nodes.js";
import { diskObjectProperties, diskObjects, diskSourceCheck, nodesOfDiskObject } from "../../../src/storage/index.js";
import type { DiskSource } from "../../../src/storage/index.js";

const encryption = { format: "luks", secretId: "key-1" } as const;
const portal = { host: "fd00::1", port: 3260 };
const iscsi = { type: "iscsi", portal, target: "iqn.2026-01.org.example:vol", lun: 3, format: "raw" } as const;
const rbd = { type: "rbd", pool: "volumes", image: "vol-1", format: "raw" } as const;

function nodesOf(source: DiskSource): unknown {
  const disk: GuestDisk = {
    id: "data",
    bus: "virtio",
    deviceType: "disk",
    deviceName: "vdb",
    readOnly: false,
    shareable: false,
  };
  return blockNodes("disk3", { ...disk, source });
}

describe("a disk's nodes", () => {
  it("decrypt a raw source below a raw node, and a qcow2 file within", () => {
    const file = { type: "file", path: "/v/a,b", encryption } as const;
    expect(nodesOf({ ...file, format: "raw" })).toMatchObject({
      driver: "raw",
      "node-name": "disk3-format",
      file: {
        driver: "luks",
        "node-name": "disk3-luks",
        "key-secret": "disk3-key",
        file: { driver: "file", filename: "/v/a,b", "node-name": "disk3-storage" },
      },
    });
    expect(nodesOf({ ...file, format: "qcow2" })).toMatchObject({
      driver: "qcow2",
      encrypt: { format: "luks", "key-secret": "disk3-key" },
      file: { driver: "file" },
    });
  });

  it("reach units of targets and images of clusters with passwords that they only name", () => {
    const auth = { username: "demo", secretId: "chap-1" };
    expect(nodesOf({ ...iscsi, auth, initiator: "iqn.2026-01.org.example:host" })).toMatchObject({
      file: {
        driver: "iscsi",
        transport: "tcp",
        portal: "[fd00::1]:3260",
        lun: 3,
        user: "demo",
        "password-secret": "disk3-password",
        "initiator-name": "iqn.2026-01.org.example:host",
      },
    });
    const monitors = [{ host: "10.0.0.1", port: 6789 }];
    const source = {
      ...rbd,
      monitors,
      user: "cinder",
      secretId: "ceph",
      configPath: "/etc/ceph/ceph.conf",
      encryption,
    };
    expect(nodesOf(source)).toMatchObject({
      file: {
        driver: "luks",
        file: {
          driver: "rbd",
          pool: "volumes",
          image: "vol-1",
          conf: "/etc/ceph/ceph.conf",
          server: [{ host: "10.0.0.1", port: "6789" }],
          "auth-client-required": ["cephx"],
          "key-secret": "disk3-auth",
        },
      },
    });
    expect(diskObjects("disk3", source)).toEqual([
      { type: "secret", id: "disk3-key", secretId: "key-1", format: "raw" },
      { type: "secret", id: "disk3-auth", secretId: "ceph", format: "base64" },
    ]);
    const tls = { directory: "/pki", hostname: "storage" };
    const nbd = { type: "nbd", server: { type: "inet", ...portal }, exportName: "", format: "raw", tls } as const;
    expect(nodesOf(nbd)).toMatchObject({ file: { "tls-creds": "disk3-tls", "tls-hostname": "storage" } });
    expect(diskObjects("disk3", nbd).map((object) => diskObjectProperties(object))).toEqual([
      { "qom-type": "tls-creds-x509", id: "disk3-tls", dir: "/pki", endpoint: "client", "verify-peer": true },
    ]);
  });

  it.each([
    ["disk3-key", "disk3"],
    ["disk12-2-password", "disk12-2"],
    ["disk3-tls", "disk3"],
    ["memory0-mem", undefined],
    ["pc.ram", undefined],
    ["entropy0", undefined],
  ])("the object %s is for the nodes of %s", (id, name) => {
    expect(nodesOfDiskObject(id)).toBe(name);
  });
});

describe("a disk source", () => {
  it("of every type passes as it is", () => {
    for (const source of [iscsi, rbd, { ...rbd, encryption }])
      expect(diskSourceCheck(source, "source")).toEqual(source);
  });

  it.each([
    ["target", { ...iscsi, target: "vol" }],
    ["target", { ...iscsi, target: "iqn.2026-01.org.example:a,b" }],
    ["lun", { ...iscsi, lun: -1 }],
    ["portal.host", { ...iscsi, portal: { host: "a b", port: 1 } }],
    ["auth.secretId", { ...iscsi, auth: { username: "a", secretId: "../a" } }],
    ["pool", { ...rbd, pool: "a/b" }],
    ["image", { ...rbd, image: "a@snap" }],
    ["user", { ...rbd, user: "a:key=x" }],
    ["encryption.format", { ...rbd, encryption: { format: "aes", secretId: "a" } }],
    ["encryption.secretId", { ...rbd, encryption: { format: "luks", secretId: "" } }],
    ["encryption.passphrase", { ...rbd, encryption: { ...encryption, passphrase: "x" } }],
  ])("is refused for its %s", (field, source) => {
    expect(() => diskSourceCheck(source, "source")).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: `source.${field}` }),
    );
  });
});
