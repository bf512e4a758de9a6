/** Where this host is reached. */
import { networkInterfaces } from "node:os";

/** The address that others are likely to reach this host by: the first global one, IPv4 before IPv6. */
export function hostAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  const global = addresses.filter(({ internal, address }) => !internal && !/^(fe80:|169\.254\.)/i.test(address));
  return (global.find(({ family }) => family === "IPv4") ?? global[0])?.address ?? "127.0.0.1";
}
