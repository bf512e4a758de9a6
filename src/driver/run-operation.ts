/** What every operation goes through: its turn, its time, its journal; and its undoing when it fails. */
import { Deadline, traceOperation } from "../core/index.js";
import type { CommonOptions, HyperviseError } from "../core/index.js";
import { asHyperviseError } from "./unexpected-error.js";
import { admit } from "./admission.js";
import { checkOptions } from "./operation-options.js";
import type { HostContext } from "./host-context.js";
import { IncompleteCleanupError } from "./errors.js";
import type { InstanceRef } from "./instance-spec.js";
import type { Operation, OperationRequest } from "./operation.js";
import { isReadOnly, readRecordsAnew, requireWritable } from "./read-only.js";
import { RunningOperation } from "./running-operation.js";
import { settleLeftovers } from "./leftovers.js";

/**
 * Runs the body as the one operation of its instance. Rejects with what the body throws, after everything that the body did is undone; what could not be undone
 * is attached (`undoErrors`) and stays in the journal, for the next operation on the instance or the next `initHost`.
 */
export async function runOperation<T>(
  host: HostContext,
  request: OperationRequest,
  body: (operation: Operation) => Promise<T>,
): Promise<T> {
  const instance = admit(host, request.instance);
  requireWritable(host, request.kind);
  const options = checkOptions(request.options);
  const context = (): object => ({ kind: request.kind, instance, params: request.params });
  return traceOperation(`hypervise:driver:${request.kind}`, context, async () => {
    const operation = new RunningOperation(host, request, instance, options);
    try {
      const { deadline, signal } = operation;
      const turn = { signal, deadline: deadline === undefined ? host.timeouts.queueMs : deadline };
      const work = host.locks.run(
        instance.uuid,
        () =>
          operation.run(async () => {
            if (request.leftovers !== "own") await requireSettled(host, instance);
            return body(operation);
          }),
        turn,
      );
      return await operation.answer(host.lifecycle.track(operation, work));
    } catch (error) {
      throw inContext(error, instance);
    } finally {
      operation.dispose();
    }
  });
}

/** A read: checks that the driver is open, and bounds the wait. It takes no lock and has no journal. */
export async function runQuery<T>(
  host: HostContext,
  kind: string,
  options: CommonOptions | undefined,
  body: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  host.lifecycle.assertReady();
  const { signal, deadline: limitMs } = checkOptions(options);
  const deadline = Deadline.after(limitMs ?? host.timeouts.queryMs, { operation: kind, clock: host.clock, signal });
  try {
    deadline.throwIfExpired();
    if (isReadOnly(host.hypervisor)) await deadline.race(readRecordsAnew(host));
    return await deadline.race(body(deadline.signal));
  } catch (error) {
    throw asHyperviseError(error);
  } finally {
    deadline.dispose();
  }
}

/** Errors of an operation name their instance. */
export function inContext(error: unknown, instance: InstanceRef): HyperviseError {
  return asHyperviseError(error).withContext({ instance });
}

/** @throws IncompleteCleanupError while an earlier operation on the instance can be neither undone nor finished. */
async function requireSettled(host: HostContext, instance: InstanceRef): Promise<void> {
  const errors = await settleLeftovers(host, instance.uuid);
  if (errors.length === 0) return;
  const error = new IncompleteCleanupError(
    "an earlier operation on the instance left something that can't be removed now",
    {
      instance,
      cause: errors[0],
      remedy: "Mend what the causes name and call again, or destroy the instance.",
    },
  );
  error.attachUndoErrors(errors);
  throw error;
}
