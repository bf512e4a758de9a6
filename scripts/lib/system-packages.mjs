// What the demo and the tests need from the operating system: how to see that it is there, and which package brings it.
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";

/**
 * @typedef {"demo" | "test"} NeedGroup
 * @typedef {{
 *   name: string, purpose: string, groups: readonly NeedGroup[],
 *   probe: { command: string } | { file: readonly string[] },
 *   packages: Partial<Record<import("./operating-system.mjs").PackageManager, string>>,
 * }} SystemNeed
 */

/** @type {readonly NeedGroup[]} */
const BOTH = ["demo", "test"];
/** @type {readonly NeedGroup[]} */
const TEST = ["test"];

/** @type {readonly SystemNeed[]} */
export const SYSTEM_NEEDS = [
  {
    name: "qemu-system-x86_64",
    purpose: "runs the guests",
    groups: BOTH,
    probe: { command: "qemu-system-x86_64" },
    packages: {
      apt: "qemu-system-x86",
      dnf: "qemu-system-x86-core",
      pacman: "qemu-system-x86",
      zypper: "qemu-x86",
      apk: "qemu-system-x86_64",
      brew: "qemu",
    },
  },
  {
    name: "qemu-img",
    purpose: "makes and inspects disk images",
    groups: BOTH,
    probe: { command: "qemu-img" },
    packages: {
      apt: "qemu-utils",
      dnf: "qemu-img",
      pacman: "qemu-img",
      zypper: "qemu-img",
      apk: "qemu-img",
      brew: "qemu",
    },
  },
  {
    name: "ip",
    purpose: "bridges, TAP devices and namespaces",
    groups: BOTH,
    probe: { command: "ip" },
    packages: { apt: "iproute2", dnf: "iproute", pacman: "iproute2", zypper: "iproute2", apk: "iproute2" },
  },
  {
    name: "ovmf",
    purpose: "UEFI guests",
    groups: TEST,
    probe: { file: ["/usr/share/qemu/firmware/60-edk2-x86_64.json", "/usr/share/qemu/firmware/50-edk2-ovmf-x64.json"] },
    packages: { apt: "ovmf", dnf: "edk2-ovmf", pacman: "edk2-ovmf", zypper: "qemu-ovmf-x86_64", apk: "ovmf" },
  },
  {
    name: "swtpm",
    purpose: "guests with a TPM",
    groups: TEST,
    probe: { command: "swtpm" },
    packages: { apt: "swtpm", dnf: "swtpm", pacman: "swtpm", zypper: "swtpm", apk: "swtpm" },
  },
  {
    name: "swtpm_setup",
    purpose: "guests with a TPM under libvirt",
    groups: TEST,
    probe: { command: "swtpm_setup" },
    packages: { apt: "swtpm-tools", dnf: "swtpm-tools", pacman: "swtpm", zypper: "swtpm", apk: "swtpm" },
  },
  {
    name: "qemu-system-aarch64",
    purpose: "machines of another architecture",
    groups: TEST,
    probe: { command: "qemu-system-aarch64" },
    packages: {
      apt: "qemu-system-arm",
      dnf: "qemu-system-aarch64-core",
      pacman: "qemu-system-aarch64",
      zypper: "qemu-arm",
      apk: "qemu-system-aarch64",
    },
  },
  {
    name: "aavmf",
    purpose: "UEFI machines of another architecture",
    groups: TEST,
    probe: { file: ["/usr/share/qemu/firmware/60-edk2-aarch64.json", "/usr/share/AAVMF/AAVMF_CODE.fd"] },
    packages: { apt: "qemu-efi-aarch64", dnf: "edk2-aarch64", pacman: "edk2-aarch64", zypper: "qemu-uefi-aarch64" },
  },
  {
    name: "genisoimage",
    purpose: "config drives as ISO images",
    groups: TEST,
    probe: { command: "genisoimage" },
    packages: { apt: "genisoimage", dnf: "genisoimage", pacman: "cdrtools", zypper: "mkisofs", apk: "cdrkit" },
  },
  {
    name: "mkfs.vfat",
    purpose: "config drives and ephemeral disks as FAT file systems",
    groups: TEST,
    probe: { command: "mkfs.vfat" },
    packages: { apt: "dosfstools", dnf: "dosfstools", pacman: "dosfstools", zypper: "dosfstools", apk: "dosfstools" },
  },
  {
    name: "mkfs.xfs",
    purpose: "ephemeral disks with XFS",
    groups: TEST,
    probe: { command: "mkfs.xfs" },
    packages: { apt: "xfsprogs", dnf: "xfsprogs", pacman: "xfsprogs", zypper: "xfsprogs", apk: "xfsprogs" },
  },
  {
    name: "mcopy",
    purpose: "config drives as FAT images",
    groups: TEST,
    probe: { command: "mcopy" },
    packages: { apt: "mtools", dnf: "mtools", pacman: "mtools", zypper: "mtools", apk: "mtools" },
  },
  {
    name: "mkfs.ext4",
    purpose: "ephemeral disks",
    groups: TEST,
    probe: { command: "mkfs.ext4" },
    packages: { apt: "e2fsprogs", dnf: "e2fsprogs", pacman: "e2fsprogs", zypper: "e2fsprogs", apk: "e2fsprogs" },
  },
  {
    name: "nft",
    purpose: "the nftables firewall",
    groups: TEST,
    probe: { command: "nft" },
    packages: { apt: "nftables", dnf: "nftables", pacman: "nftables", zypper: "nftables", apk: "nftables" },
  },
  {
    name: "iptables",
    purpose: "the iptables firewall",
    groups: TEST,
    probe: { command: "iptables" },
    packages: {
      apt: "iptables",
      dnf: "iptables-nft",
      pacman: "iptables-nft",
      zypper: "iptables-backend-nft",
      apk: "iptables",
    },
  },
  {
    name: "ipset",
    purpose: "members of security groups in the iptables firewall",
    groups: TEST,
    probe: { command: "ipset" },
    packages: { apt: "ipset", dnf: "ipset", pacman: "ipset", zypper: "ipset", apk: "ipset" },
  },
  {
    name: "conntrack",
    purpose: "ends tracked connections when rules change",
    groups: TEST,
    probe: { command: "conntrack" },
    packages: {
      apt: "conntrack",
      dnf: "conntrack-tools",
      pacman: "conntrack-tools",
      zypper: "conntrack-tools",
      apk: "conntrack-tools",
    },
  },
  {
    name: "ethtool",
    purpose: "offload settings of interfaces",
    groups: TEST,
    probe: { command: "ethtool" },
    packages: { apt: "ethtool", dnf: "ethtool", pacman: "ethtool", zypper: "ethtool", apk: "ethtool" },
  },
  {
    name: "dnsmasq",
    purpose: "DHCP for guests",
    groups: TEST,
    probe: { command: "dnsmasq" },
    packages: { apt: "dnsmasq-base", dnf: "dnsmasq", pacman: "dnsmasq", zypper: "dnsmasq", apk: "dnsmasq" },
  },
  {
    name: "lvm",
    purpose: "disks of guests as logical volumes",
    groups: TEST,
    probe: { command: "lvm" },
    packages: { apt: "lvm2", dnf: "lvm2", pacman: "lvm2", zypper: "lvm2", apk: "lvm2" },
  },
  {
    name: "postgres",
    purpose: "keeps the state of networks for many hosts",
    groups: TEST,
    // Debian keeps the server's programs out of PATH; the wrappers that its package brings are in it.
    probe: { file: ["/usr/bin/pg_ctlcluster", "/usr/bin/postgres", "/usr/sbin/postgres", "/usr/libexec/postgresql"] },
    packages: {
      apt: "postgresql",
      dnf: "postgresql-server",
      pacman: "postgresql",
      zypper: "postgresql-server",
      apk: "postgresql",
    },
  },
  {
    name: "dhcp_release",
    purpose: "gives DHCP leases back",
    groups: TEST,
    probe: { command: "dhcp_release" },
    packages: {
      apt: "dnsmasq-utils",
      dnf: "dnsmasq-utils",
      pacman: "dnsmasq",
      zypper: "dnsmasq-utils",
      apk: "dnsmasq-utils",
    },
  },
  {
    name: "udhcpc",
    purpose: "a DHCP client",
    groups: TEST,
    probe: { command: "busybox" },
    packages: { apt: "busybox", dnf: "busybox", pacman: "busybox", zypper: "busybox", apk: "busybox" },
  },
  {
    name: "dhclient",
    purpose: "a DHCPv6 client",
    groups: TEST,
    probe: { command: "dhclient" },
    packages: {
      apt: "isc-dhcp-client",
      dnf: "dhcp-client",
      pacman: "dhclient",
      zypper: "dhcp-client",
      apk: "dhclient",
    },
  },
  {
    name: "arping",
    purpose: "tells neighbours of floating addresses",
    groups: TEST,
    probe: { command: "arping" },
    packages: { apt: "iputils-arping", dnf: "iputils", pacman: "iputils", zypper: "iputils", apk: "iputils-arping" },
  },
  {
    name: "ovs-vsctl",
    purpose: "ports of Open vSwitch",
    groups: TEST,
    probe: { command: "ovs-vsctl" },
    packages: {
      apt: "openvswitch-switch",
      dnf: "openvswitch",
      pacman: "openvswitch",
      zypper: "openvswitch",
      apk: "openvswitch",
    },
  },
  {
    name: "sysctl",
    purpose: "forwarding by single interfaces",
    groups: TEST,
    probe: { command: "sysctl" },
    packages: { apt: "procps", dnf: "procps-ng", pacman: "procps-ng", zypper: "procps", apk: "procps" },
  },
  {
    name: "libvirtd",
    purpose: "the libvirt driver's other end",
    groups: TEST,
    probe: { command: "libvirtd" },
    packages: {
      apt: "libvirt-daemon-system",
      dnf: "libvirt-daemon",
      pacman: "libvirt",
      zypper: "libvirt-daemon",
      apk: "libvirt-daemon",
    },
  },
  {
    name: "virtlogd",
    purpose: "console logs of guests of libvirt that outlive the daemon",
    groups: TEST,
    probe: { command: "virtlogd" },
    packages: {
      apt: "libvirt-daemon",
      dnf: "libvirt-daemon-log",
      pacman: "libvirt",
      zypper: "libvirt-daemon-log",
      apk: "libvirt-daemon",
    },
  },
  {
    name: "libvirt's QEMU driver",
    purpose: "QEMU guests through libvirt",
    groups: TEST,
    probe: {
      file: [
        "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so",
        "/usr/lib64/libvirt/connection-driver/libvirt_driver_qemu.so",
        "/usr/lib/libvirt/connection-driver/libvirt_driver_qemu.so",
      ],
    },
    packages: {
      apt: "libvirt-daemon-driver-qemu",
      dnf: "libvirt-daemon-driver-qemu",
      pacman: "libvirt",
      zypper: "libvirt-daemon-driver-qemu",
      apk: "libvirt-qemu",
    },
  },
  {
    name: "libvirt's LXC driver",
    purpose: "containers through libvirt",
    groups: TEST,
    probe: {
      file: [
        "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_lxc.so",
        "/usr/lib64/libvirt/connection-driver/libvirt_driver_lxc.so",
        "/usr/lib/libvirt/connection-driver/libvirt_driver_lxc.so",
      ],
    },
    packages: {
      apt: "libvirt-daemon-driver-lxc",
      dnf: "libvirt-daemon-driver-lxc",
      pacman: "libvirt",
      zypper: "libvirt-daemon-driver-lxc",
      apk: "libvirt-lxc",
    },
  },
  {
    name: "virsh",
    purpose: "compares the libvirt driver with libvirt's own client",
    groups: TEST,
    probe: { command: "virsh" },
    packages: {
      apt: "libvirt-clients",
      dnf: "libvirt-client",
      pacman: "libvirt",
      zypper: "libvirt-client",
      apk: "libvirt-client",
    },
  },
  {
    name: "saslpasswd2",
    purpose: "users of a libvirt daemon that asks for a password",
    groups: TEST,
    probe: { command: "saslpasswd2" },
    packages: {
      apt: "sasl2-bin",
      dnf: "cyrus-sasl",
      pacman: "cyrus-sasl",
      zypper: "cyrus-sasl",
      apk: "cyrus-sasl",
    },
  },
  {
    name: "openssl",
    purpose: "certificates of a libvirt daemon that is reached over TLS",
    groups: TEST,
    probe: { command: "openssl" },
    packages: { apt: "openssl", dnf: "openssl", pacman: "openssl", zypper: "openssl", apk: "openssl" },
  },
  {
    name: "xmllint",
    purpose: "holds XML against libvirt's schemas",
    groups: TEST,
    probe: { command: "xmllint" },
    packages: {
      apt: "libxml2-utils",
      dnf: "libxml2",
      pacman: "libxml2",
      zypper: "libxml2-tools",
      apk: "libxml2-utils",
    },
  },
  {
    name: "qemu-nbd",
    purpose: "volumes that an NBD server exports",
    groups: TEST,
    probe: { command: "qemu-nbd" },
    packages: {
      apt: "qemu-utils",
      dnf: "qemu-img",
      pacman: "qemu-img",
      zypper: "qemu-img",
      apk: "qemu-img",
    },
  },
  {
    name: "QEMU's iSCSI driver",
    purpose: "volumes of iSCSI targets",
    groups: TEST,
    probe: {
      file: [
        "/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so",
        "/usr/lib64/qemu-kvm/block-iscsi.so",
        "/usr/lib64/qemu/block-iscsi.so",
        "/usr/lib/qemu/block-iscsi.so",
      ],
    },
    packages: {
      apt: "qemu-block-extra",
      dnf: "qemu-block-iscsi",
      pacman: "qemu-block-iscsi",
      zypper: "qemu-block-iscsi",
      apk: "qemu-block-iscsi",
    },
  },
  {
    name: "tgtd",
    purpose: "an iSCSI target of the tests' own",
    groups: TEST,
    probe: { command: "tgtd" },
    packages: { apt: "tgt", dnf: "scsi-target-utils", pacman: "tgt", zypper: "tgt", apk: "tgt" },
  },
  {
    name: "mount.nfs",
    purpose: "volumes of a mounted NFS export",
    groups: TEST,
    probe: { command: "mount.nfs" },
    packages: { apt: "nfs-common", dnf: "nfs-utils", pacman: "nfs-utils", zypper: "nfs-client", apk: "nfs-utils" },
  },
  {
    name: "unshare",
    purpose: "the tests' own namespaces",
    groups: TEST,
    probe: { command: "unshare" },
    packages: { apt: "util-linux", dnf: "util-linux", pacman: "util-linux", zypper: "util-linux", apk: "util-linux" },
  },
];

const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/**
 * The path of a command, looked for in PATH and then where administrators' commands live (a user's PATH often lacks sbin).
 *
 * @param {string} command
 * @param {string} [path]
 * @returns {string | undefined}
 */
export function findCommand(command, path = process.env.PATH ?? "") {
  for (const directory of [...path.split(delimiter), ...SYSTEM_PATH]) {
    if (!directory) continue;
    const candidate = join(directory, command);
    try {
      accessSync(candidate, constants.X_OK);
      if (statSync(candidate).isFile()) return candidate;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/**
 * @param {SystemNeed} need
 * @returns {boolean}
 */
export function isPresent(need) {
  if ("command" in need.probe) return findCommand(need.probe.command) !== undefined;
  return need.probe.file.some((path) => existsSync(path));
}

/**
 * @param {NeedGroup} group
 * @param {(need: SystemNeed) => boolean} [present]
 * @returns {SystemNeed[]}
 */
export function missingNeeds(group, present = isPresent) {
  return SYSTEM_NEEDS.filter((need) => need.groups.includes(group) && !present(need));
}

/**
 * The packages that bring these needs, each once, in the table's order.
 *
 * @param {readonly SystemNeed[]} needs
 * @param {import("./operating-system.mjs").PackageManager} manager
 * @returns {string[]}
 */
export function packagesFor(needs, manager) {
  return [...new Set(needs.map((need) => need.packages[manager]).filter((name) => name !== undefined))];
}

const INSTALL_COMMAND = {
  apt: "apt-get install --no-install-recommends",
  dnf: "dnf install",
  pacman: "pacman -S --needed",
  zypper: "zypper install",
  apk: "apk add",
  brew: "brew install",
};

/**
 * What a person has to do to have these needs met, as lines to print.
 *
 * @param {readonly SystemNeed[]} needs
 * @param {{ name: string, manager?: import("./operating-system.mjs").PackageManager }} system
 * @param {{ isRoot?: boolean }} [options]
 * @returns {string[]}
 */
export function installAdvice(needs, system, { isRoot = false } = {}) {
  const lines = [`Missing on this system (${system.name}):`];
  for (const need of needs) lines.push(`  ${need.name}: ${need.purpose}`);
  if (!system.manager) {
    lines.push("Install them with this system's package manager and start again.");
    return lines;
  }
  const packages = packagesFor(needs, system.manager);
  const without = needs.filter((need) => need.packages[/** @type {string} */ (system.manager)] === undefined);
  if (packages.length > 0) {
    const prefix = isRoot || system.manager === "brew" ? "" : "sudo ";
    lines.push("Install with:", `  ${prefix}${INSTALL_COMMAND[system.manager]} ${packages.join(" ")}`);
  }
  if (without.length > 0) lines.push(`Not to be had here: ${without.map((need) => need.name).join(", ")}`);
  return lines;
}
