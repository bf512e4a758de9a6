import { describe, expect, it } from "vitest";
import { extraArguments } from "../../../src/kvm/plan/extra-arguments.js";

const given = (...args: readonly string[]): readonly string[] => extraArguments({ extraArguments: [...args] }, "kvm");

describe("arguments that an operator adds", () => {
  it.each([
    [["-trace", "enable=vfio*"]],
    [["-device", '{"driver":"edu","id":"x0"}', "-device", "edu,id=x1"]],
    [["--object", "secret,id=s,data=a,,id=disk0"]],
    [["-enable-fips", "-fw_cfg", "name=opt/x,string=1"]],
    [[]],
  ])("stand as they are: %j", (args) => {
    expect(given(...args)).toEqual(args);
  });

  it.each([
    [["-qmp", "stdio"], 0],
    [["--monitor", "stdio"], 0],
    [["-S"], 0],
    [["-sandbox", "off"], 0],
    [["-m", "1G"], 0],
    [["-set", "device.disk0.serial=x"], 0],
    [["-readconfig", "/etc/x"], 0],
    [["-add-fd", "fd=3,set=1"], 0],
    [["-incoming", "tcp:0:1"], 0],
    [["disk.img"], 0],
    [["-device", "edu", "disk.img"], 2],
    [["-device=edu"], 0],
    [["-"], 0],
    [["-device", "virtio-blk-pci,id=disk0,drive=x"], 1],
    [["-device", '{"driver":"edu","id":"nic12"}'], 1],
    [["-device", "{'driver':'edu','id':'nic12'}"], 1],
    [["-blockdev", '{"driver":"raw","node-name":"disk1-format","file":{}}'], 1],
    [["-blockdev", '{"driver":"raw","node-name":"x","file":{"driver":"file","node-name":"disk1-storage"}}'], 1],
    [["-chardev", "socket,id=monitor-path,path=/x"], 1],
    [["-object", "memory-backend-ram,id=ram0,size=1"], 1],
    [["-device", "edu,id=fs-share"], 1],
  ])("are refused by their place when they touch what is the driver's: %j", (args, index) => {
    const expected: unknown = expect.objectContaining({
      code: "INVALID_ARGUMENT",
      field: `kvm.extraArguments[${index}]`,
    });
    expect(() => given(...args)).toThrow(expected);
  });

  it("are a list of printable texts, and the only thing to be chosen", () => {
    expect(extraArguments(undefined, "kvm")).toEqual([]);
    expect(() => extraArguments({ extraArguments: ["-x\n"] }, "kvm")).toThrow(/extraArguments\[0\]/);
    expect(() => extraArguments({ extraArguments: "-x" }, "kvm")).toThrow(/extraArguments/);
    expect(() => extraArguments({ other: 1 }, "kvm")).toThrow(/other/);
  });
});
