/** `setConsolePassword`. */
import { check, InvalidArgumentError, NotSupportedError } from "../../core/index.js";
import type { OperationOptions, Secret } from "../../core/index.js";
import { admit } from "../admission.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireInMemory } from "../guest-actions.js";
import { runOperation } from "../run-operation.js";

const kindCheck = check.oneOf(["vnc", "spice"]);
const passwordCheck = check.secret({ max: 60 });
const validCheck = check.integer({ min: 1, max: 31_536_000_000 });
/** RFC 6143 section 7.2.2: a DES key. What is longer would be cut off unseen. */
const VNC_PASSWORD = /^[ -~]{1,8}$/;

export async function setConsolePassword(
  host: HostContext,
  given: InstanceRef,
  kind: "vnc" | "spice",
  givenPassword: string | Secret,
  options: OperationOptions & { readonly validMs?: number } = {},
): Promise<void> {
  const instance = admit(host, given);
  kindCheck(kind, "kind");
  const password = passwordCheck(givenPassword, "password");
  if (kind === "vnc" && !VNC_PASSWORD.test(password.reveal()))
    throw new InvalidArgumentError({ field: "password", value: password, expected: "1 to 8 ASCII characters for VNC" });
  const { validMs } = options;
  if (validMs !== undefined) validCheck(validMs, "options.validMs");
  const { attachMs } = host.timeouts;
  const request = { kind: "setConsolePassword", instance, options, timeoutMs: attachMs };
  return runOperation(host, request, async ({ signal }) => {
    const guest = await requireInMemory(host, instance.uuid, "setConsolePassword", signal);
    await limited(host, attachMs, "setting the password", signal, async (limit) => {
      if (guest.setConsolePassword === undefined) throw new NotSupportedError({ capability: "consolePasswords" });
      await guest.setConsolePassword(kind, password, { signal: limit, ...(validMs === undefined ? {} : { validMs }) });
    });
  });
}
