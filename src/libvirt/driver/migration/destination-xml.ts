/** The domain that a guest is on its destination: what the guest sees of it as on the source, what the host gives it as the destination has planned. Pure. */
import { withoutUndefined } from "../../../core/index.js";
import { MigrationPreCheckError } from "../../../driver/index.js";
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { findDisk, findNic, readDomain } from "../plan/index.js";

/**
 * One rewriting for both, the running domain and the permanent one.
 * @param source a domain as libvirt has it on the source, running or not
 * @param planned the same guest as the destination would define it
 * @throws MigrationPreCheckError naming the device that the destination has nothing for
 */
export function destinationDomain(source: DomainXml, planned: DomainXml): DomainXml {
  const { id: _, seclabel: _labels, ...kept } = source;
  const { cputune, numatune, seclabel, vcpu, devices = {}, os } = planned;
  return withoutUndefined<DomainXml>({
    ...kept,
    seclabel,
    // Where on the host it runs is the destination's affair.
    cputune,
    numatune,
    vcpu: kept.vcpu === undefined ? undefined : withoutUndefined({ ...kept.vcpu, cpuset: vcpu?.cpuset }),
    os: withBootFiles(kept.os, os),
    devices: devicesThere(source, planned, kept.devices ?? {}, devices),
  });
}

function withBootFiles(
  os: LibvirtXml.DomainOs | undefined,
  planned: LibvirtXml.DomainOs | undefined,
): LibvirtXml.DomainOs | undefined {
  if (os?.kernel === undefined || planned?.kernel === undefined) return os;
  return withoutUndefined<LibvirtXml.DomainOs>({ ...os, kernel: planned.kernel, initrd: planned.initrd });
}

function devicesThere(
  source: DomainXml,
  planned: DomainXml,
  devices: LibvirtXml.DomainDevices,
  there: LibvirtXml.DomainDevices,
): LibvirtXml.DomainDevices {
  const found = readDomain(planned);
  const disks = readDomain(source).disks.map(({ id, target, xml }) => {
    const planned = id === undefined ? undefined : findDisk(found, id);
    if (planned === undefined) throw lacking(`disk ${id ?? target}`);
    return diskThere(xml, planned.xml);
  });
  const nics = readDomain(source).nics.map(({ id, macAddress, xml }) => {
    const planned = id === undefined ? undefined : findNic(found, id);
    if (planned === undefined) throw lacking(`NIC ${id ?? macAddress ?? ""}`);
    return nicThere(xml, planned.xml);
  });
  return withoutUndefined<LibvirtXml.DomainDevices>({
    ...devices,
    emulator: there.emulator ?? devices.emulator,
    disk: devices.disk === undefined ? undefined : disks,
    interface: devices.interface === undefined ? undefined : nics,
    graphics: devices.graphics?.map((graphics, index) => graphicsThere(graphics, there.graphics?.[index])),
    serial: devices.serial?.map((port, index) => portThere(port, there.serial?.[index])),
    console: devices.console?.map((port, index) => portThere(port, index === 0 ? there.serial?.[0] : undefined)),
    channel: devices.channel?.map((channel) => channelThere(channel, there.channel)),
    filesystem: devices.filesystem?.map((each) => filesystemThere(each, there.filesystem)),
  });
}

/** The chain of files below is read anew there. */
function diskThere(disk: LibvirtXml.DomainDisk, there: LibvirtXml.DomainDisk): LibvirtXml.DomainDisk {
  const { backingStore: _chain, mirror: _copy, source: _source, privateData: _private, ...kept } = disk;
  const { type, driver, source, auth, encryption, backingStore } = there;
  return withoutUndefined<LibvirtXml.DomainDisk>({ ...kept, type, driver, source, auth, encryption, backingStore });
}

function nicThere(nic: LibvirtXml.DomainInterface, there: LibvirtXml.DomainInterface): LibvirtXml.DomainInterface {
  const { type, source, target, virtualport, filterref, script, downscript, backend, vlan, port } = there;
  const own = { type, source, target, virtualport, filterref, script, downscript, backend, vlan, port };
  return withoutUndefined<LibvirtXml.DomainInterface>({ ...nic, ...own });
}

/** A password that was set stays. */
function graphicsThere(
  graphics: LibvirtXml.DomainGraphics,
  there: LibvirtXml.DomainGraphics | undefined,
): LibvirtXml.DomainGraphics {
  if (there === undefined || there.type !== graphics.type) return graphics;
  const { passwd, passwdValidTo } = graphics;
  return withoutUndefined<LibvirtXml.DomainGraphics>({ ...there, ...withoutUndefined({ passwd, passwdValidTo }) });
}

function portThere(
  port: LibvirtXml.DomainConsole,
  there: LibvirtXml.DomainConsole | undefined,
): LibvirtXml.DomainConsole {
  const { tty: _tty, source: _source, ...kept } = port;
  if (there === undefined) return port.type === "pty" ? kept : port;
  const { type, source, protocol, log } = there;
  return withoutUndefined<LibvirtXml.DomainConsole>({ ...kept, type, source, protocol, log });
}

function channelThere(
  channel: LibvirtXml.DomainChannel,
  planned: readonly LibvirtXml.DomainChannel[] | undefined,
): LibvirtXml.DomainChannel {
  const { target } = channel;
  const there = planned?.find((each) => each.target?.name !== undefined && each.target.name === target?.name);
  if (there === undefined) return channel;
  const { type, source, protocol, log } = there;
  return withoutUndefined<LibvirtXml.DomainChannel>({ ...channel, type, source, protocol, log });
}

function filesystemThere(
  filesystem: LibvirtXml.DomainFilesystem,
  planned: readonly LibvirtXml.DomainFilesystem[] | undefined,
): LibvirtXml.DomainFilesystem {
  const there = planned?.find((each) => each.target?.dir === filesystem.target?.dir);
  if (there === undefined) return filesystem;
  const { source, binary } = there;
  return withoutUndefined<LibvirtXml.DomainFilesystem>({ ...filesystem, source, binary });
}

function lacking(device: string): MigrationPreCheckError {
  return new MigrationPreCheckError(`the destination has nothing for ${device} of the guest`);
}
