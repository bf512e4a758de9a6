import { describe, expect, it } from "vitest";
import { authFileCandidates, credentialsFrom } from "../../../src/libvirt/rpc/auth/credentials.js";
import { parseConnectUri } from "../../../src/libvirt/rpc/index.js";
import { libvirtSocketPath } from "../../../src/libvirt/rpc/transports/socket-path.js";
import type { SocketSurroundings } from "../../../src/libvirt/rpc/transports/socket-path.js";
import { sshArgv } from "../../../src/libvirt/rpc/transports/ssh-command.js";
import { tlsFileCandidates } from "../../../src/libvirt/rpc/transports/tls-files.js";

describe("the socket of a URI", () => {
  const MODULAR = "/var/run/libvirt/virtqemud-sock";
  const pathOf = (uri: string, surroundings: Partial<SocketSurroundings> = {}): string =>
    libvirtSocketPath(parseConnectUri(uri), { uid: 0, env: {}, exists: () => false, readOnly: false, ...surroundings });
  const user = { uid: 1000, env: { XDG_RUNTIME_DIR: "/run/user/1000", HOME: "/home/u" } };

  it.each<[string, Partial<SocketSurroundings>, string]>([
    ["qemu:///system", {}, "/var/run/libvirt/libvirt-sock"],
    ["qemu:///system", { readOnly: true }, "/var/run/libvirt/libvirt-sock-ro"],
    ["qemu:///system", { exists: (path) => path === MODULAR }, MODULAR],
    ["qemu:///system?mode=legacy", { exists: () => true }, "/var/run/libvirt/libvirt-sock"],
    ["lxc:///?mode=direct", {}, "/var/run/libvirt/virtlxcd-sock"],
    ["network:///system?mode=direct", { readOnly: true }, "/var/run/libvirt/virtnetworkd-sock-ro"],
    ["qemu:///session", {}, "/var/run/libvirt/libvirt-sock"],
    ["qemu:///session", user, "/run/user/1000/libvirt/libvirt-sock"],
    ["qemu:///session", { ...user, readOnly: true, exists: () => true }, "/run/user/1000/libvirt/virtqemud-sock"],
    ["test:///default", user, "/run/user/1000/libvirt/libvirt-sock"],
    ["qemu:///system", user, "/var/run/libvirt/libvirt-sock"],
    ["qemu:///session", { uid: 1000, env: { HOME: "/home/u" } }, "/home/u/.cache/libvirt/libvirt-sock"],
    ["remote:///", { exists: () => true }, "/var/run/libvirt/libvirt-sock"],
    ["qemu:///system?socket=/tmp/own", { exists: () => true, readOnly: true }, "/tmp/own"],
  ])("%s", (uri, surroundings, expected) => {
    expect(pathOf(uri, surroundings)).toBe(expected);
  });

  it("is refused for modes that make no sense", () => {
    for (const uri of ["qemu:///system?mode=odd", "remote:///?mode=direct", "qemu+ssh://h/system?mode=direct"])
      expect(() => pathOf(uri)).toThrow(expect.objectContaining({ field: "uri.mode" }));
  });
});

describe("the command line of ssh", () => {
  const argvOf = (uri: string, target: Partial<Parameters<typeof sshArgv>[1]> = {}): readonly string[] =>
    sshArgv(parseConnectUri(uri), {
      socketPath: "/var/run/libvirt/libvirt-sock",
      readOnly: false,
      session: false,
      ...target,
    });

  it("lets the other host choose between virt-ssh-helper and nc", () => {
    const argv = argvOf("qemu+ssh://root@host:2222/system?keyfile=/k&no_tty=1&no_verify=1");
    expect(argv.slice(0, -1)).toEqual([
      "ssh", "-p", "2222", "-l", "root", "-i", "/k", "-T", "-e", "none",
      "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "--", "host",
    ]); // prettier-ignore
    expect(argv.at(-1)).toMatch(
      /^sh -c 'if command -v virt-ssh-helper .*exec virt-ssh-helper .*qemu:\/\/\/system.* -U .*libvirt-sock/,
    );
  });

  it.each([
    ["qemu+ssh://h/system?proxy=native", {}, "sh -c 'exec virt-ssh-helper '\\''qemu:///system'\\'''"],
    [
      "qemu+ssh://h/system?proxy=native",
      { readOnly: true },
      "sh -c 'exec virt-ssh-helper -r '\\''qemu:///system'\\'''",
    ],
    ["qemu+ssh://h/session", { session: true }, "sh -c 'exec virt-ssh-helper '\\''qemu:///session'\\'''"],
  ])("%s", (uri, target, expected) => {
    expect(argvOf(uri, target).at(-1)).toBe(expected);
  });

  it("uses nc where a socket or a netcat is named, and quotes both for the other host's shell", () => {
    const command = argvOf("qemu+ssh://h/system?socket=/a'b;rm&netcat=/n%20c").at(-1) as string;
    expect(command).toContain("'\\''/n c'\\''");
    expect(command).not.toContain("virt-ssh-helper");
    expect(command).toContain("-U '\\''/a'\\''\\'\\'''\\''b;rm'\\''");
  });

  it("puts a host that looks like an option where it can't be one", () => {
    const argv = argvOf("qemu+ssh://-oProxyCommand=evil/system");
    expect(argv.slice(-3, -1)).toEqual(["--", "-oProxyCommand=evil"]);
  });

  it("translates what libvirt's own SSH clients are told", () => {
    const argv = argvOf("qemu+libssh2://h/system?known_hosts=/kh&known_hosts_verify=auto&sshauth=agent,password");
    expect(argv).toEqual(
      expect.arrayContaining([
        "StrictHostKeyChecking=accept-new",
        'UserKnownHostsFile="/kh"',
        "PreferredAuthentications=publickey,password",
      ]),
    );
  });

  it.each([
    "qemu+ssh:///system",
    "qemu+ssh://h/system?proxy=odd",
    "qemu+ssh://h/system?proxy=native&netcat=nc",
    "qemu+ssh://h/?sshauth=magic",
  ])("is refused for %s", (uri) => {
    expect(() => argvOf(uri)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

describe("the files of a client", () => {
  it("are looked for at the user's, then at the system's", () => {
    expect(tlsFileCandidates(0, "/root")).toHaveLength(1);
    expect(tlsFileCandidates(1000, "/home/u").map((files) => files.certificate)).toEqual([
      "/home/u/.pki/libvirt/clientcert.pem",
      "/etc/pki/libvirt/clientcert.pem",
    ]);
  });

  it("name credentials by host, or for all", () => {
    const text =
      "# x\n[credentials-a]\nusername=u\npassword= p=1 \n[credentials-b]\nusername=v\n[auth-libvirt-host]\ncredentials=a\n[auth-libvirt-default]\ncredentials=b\n[auth-libvirt-bad]\ncredentials=c\n";
    expect(credentialsFrom(text, "libvirt", "host")).toEqual({ username: "u", password: "p=1" });
    expect(credentialsFrom(text, "libvirt", "other")).toEqual({ username: "v" });
    expect(credentialsFrom(text, "esx", "host")).toBeUndefined();
    expect(() => credentialsFrom(text, "libvirt", "bad")).toThrow(
      expect.objectContaining({ code: "LIBVIRT_AUTHENTICATION_FAILED" }),
    );
    const uri = parseConnectUri("qemu:///system?authfile=/a");
    expect(authFileCandidates(uri, { LIBVIRT_AUTH_FILE: "/env" })).toEqual(["/env"]);
    expect(authFileCandidates(uri, {})).toEqual(["/a"]);
    expect(authFileCandidates(parseConnectUri("qemu:///system"), { HOME: "/h" })).toEqual([
      "/h/.config/libvirt/auth.conf",
      "/etc/libvirt/auth.conf",
    ]);
  });
});
