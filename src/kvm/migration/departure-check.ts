/** Whether a guest can leave for a destination, before anything is begun. */
import { BusyError, InvalidArgumentError } from "../../core/index.js";
import type { JsonObject } from "../../core/index.js";
import { InvalidStateError, MigrationPreCheckError } from "../../driver/index.js";
import type { GuestMigrationRequest } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { bindingOf } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";
import type { OutgoingRecord } from "../state/migration-record.js";
import { asJson, fingerprintOf, parseToken } from "./token.js";
import type { GuestDescription, MigrationToken } from "./token.js";

/** What a destination has to know to build the guest's hardware anew. @throws MigrationPreCheckError while a device is being plugged */
export function describeGuest(core: GuestCore): JsonObject {
  const { definition, state, host, instance } = core;
  if (state.hardware.bindings.some(({ phase }) => phase !== undefined))
    throw new MigrationPreCheckError("a device of the guest is being plugged in or out", { instance, retryable: true });
  const { accelerator, cpuModel } = host;
  const { hardware, checkpoints } = state;
  const description: GuestDescription = {
    ...{ version: 1, definition, hardware, accelerator, cpuModel },
    ...(checkpoints === undefined ? {} : { checkpoints }),
  };
  return asJson(description);
}

/**
 * The destination's token, which has to be for this guest as it is, and for this migration.
 * @throws InvalidArgumentError, MigrationPreCheckError
 */
export function checkToken(core: GuestCore, { token: given, copyDisks }: GuestMigrationRequest): MigrationToken {
  const { instance, definition, state, host } = core;
  const token = parseToken(given, definition.uuid);
  if (token.fingerprint !== fingerprintOf(state.hardware, definition))
    throw new MigrationPreCheckError("the guest's hardware has changed since the destination was prepared", {
      instance,
    });
  if (token.tls !== (host.migration.tls !== undefined))
    throw new MigrationPreCheckError(
      `${token.tls ? "the destination" : "the source"} alone wants migrations encrypted`,
      {
        instance,
      },
    );
  if (copyDisks.length !== token.copyDisks.length || copyDisks.some((id) => !token.copyDisks.includes(id)))
    throw new MigrationPreCheckError("the destination is not prepared for the disks that are to be copied", {
      instance,
    });
  return token;
}

/**
 * The record of a guest that can leave.
 * @throws InvalidStateError, BusyError, MigrationPreCheckError, InvalidArgumentError
 */
export async function checkGuest(
  core: GuestCore,
  session: GuestSession,
  token: MigrationToken,
): Promise<OutgoingRecord> {
  const { instance } = core;
  const { copyDisks } = token;
  const { state } = session.view;
  if (state === "crashed")
    throw new InvalidStateError({ operation: "migrate", state, expected: ["running", "paused"], instance });
  if (core.state.work !== undefined || core.working)
    throw new BusyError("work on the guest's disks is under way", { instance });
  describeGuest(core);
  const { "blocked-reasons": reasons = [] } = await session.execute("query-migrate");
  if (reasons.length > 0)
    throw new MigrationPreCheckError("something of the guest can't be migrated", {
      instance,
      detail: reasons.join("; "),
    });
  const copied = copyDisks.map((id) => {
    const binding = bindingOf(core.state.hardware, "disk", id);
    if (binding === undefined)
      throw new InvalidArgumentError({ field: "request.copyDisks", value: id, expected: "a disk of the guest" });
    return binding.handle;
  });
  return { role: "source", phase: "outgoing", wasRunning: state === "running", copied, token: asJson(token) };
}
