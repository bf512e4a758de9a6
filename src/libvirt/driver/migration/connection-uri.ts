/** Where a destination's daemon is reached: a URI that comes from another host. Pure. */
import { isIP } from "node:net";
import { InvalidArgumentError } from "../../../core/index.js";
import type { Check } from "../../../core/index.js";

/** `driver[+transport]://[[user@]host[:port]]/path[?socket=…]`: of the parameters of libvirt's URIs, some name programs and keys of the host that connects. */
const URI =
  /^[a-z]{1,16}(?:\+(?:tcp|tls|ssh|unix))?:\/\/(?:[A-Za-z0-9._-]{1,64}@)?(?:\[([0-9A-Fa-f:.]+)(?:%25[A-Za-z0-9._-]{1,32})?\]|[A-Za-z0-9.-]{1,253})?(?::[0-9]{1,5})?\/[a-z]{0,16}(?:\?socket=\/[A-Za-z0-9/._-]{1,1024})?$/;

/** @throws InvalidArgumentError */
export const connectionUriCheck: Check<string> = (value, path) => {
  const match = typeof value === "string" && value.length <= 4_096 ? URI.exec(value) : null;
  if (match === null || (match[1] !== undefined && isIP(match[1]) !== 6))
    throw new InvalidArgumentError({
      field: path,
      value,
      expected: "libvirt's URI of a host, without parameters but socket",
    });
  return match[0];
};
