/** Old words of a QEMU command line that Ganeti has kept, as QEMU takes them today. Pure. */

const TLS_CREDENTIALS = "vnctls0";

/** The words with everything replaced or left out that QEMU no longer knows. What came after a lone option is never lost. */
export function upgradeCommand(command: readonly string[]): readonly string[] {
  const upgraded: string[] = [];
  for (let at = 0; at < command.length; at++) {
    const word = command[at] as string;
    const value = command[at + 1];
    if (word === "-localtime") upgraded.push("-rtc", "base=localtime");
    else if (word === "-chroot" && value !== undefined) at++;
    else if (word === "-balloon" && value !== undefined && /^virtio(?:,|$)/.test(value)) {
      upgraded.push("-device", `virtio-balloon${value.slice("virtio".length)}`);
      at++;
    } else if (word === "-vnc" && value !== undefined) {
      upgraded.push(...upgradeVnc(value));
      at++;
    } else upgraded.push(word);
  }
  return upgraded;
}

/** TLS was an option of the display, and is an object of its own now. */
function upgradeVnc(value: string): readonly string[] {
  const [address = "", ...options] = value.split(",");
  const certificates = options.map((option) => /^x509(verify)?=(.*)$/.exec(option)).find((match) => match !== null);
  const isTls = options.includes("tls") || certificates !== undefined;
  if (!isTls) return ["-vnc", value];
  const rest = options.filter((option) => option !== "tls" && !/^x509(?:verify)?=/.test(option));
  const credentials =
    certificates === undefined
      ? `tls-creds-anon,id=${TLS_CREDENTIALS},endpoint=server`
      : `tls-creds-x509,id=${TLS_CREDENTIALS},dir=${certificates[2] ?? ""},endpoint=server,verify-peer=${certificates[1] === undefined ? "no" : "yes"}`;
  return ["-object", credentials, "-vnc", [address, ...rest, `tls-creds=${TLS_CREDENTIALS}`].join(",")];
}
