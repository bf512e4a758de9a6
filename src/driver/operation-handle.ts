/** Long operations that the caller holds by a handle. */
import { OperationController } from "../core/index.js";
import type { OperationHandle } from "../core/index.js";
import type { HostContext } from "./host-context.js";
import type { Operation, OperationRequest } from "./operation.js";
import { runOperation } from "./run-operation.js";

/**
 * Runs the body as an operation and gives its handle at once; while it runs, asking again under the same key gives the same handle.
 * Whatever is wrong with the request rejects the handle's result.
 */
export function startOperation<T>(
  host: HostContext,
  key: string,
  request: OperationRequest,
  body: (operation: Operation) => Promise<T>,
): OperationHandle<T> {
  return host.handles.join(key, () => {
    const { kind, options } = request;
    const { signal, onProgress } = options ?? {};
    return OperationController.run<T>({ kind, clock: host.clock, signal, onProgress }, (controller) =>
      runOperation(
        host,
        {
          ...request,
          options: { ...options, signal: controller.signal, onProgress: (progress) => controller.update(progress) },
          onPointOfNoReturn: () => controller.passPointOfNoReturn(),
        },
        body,
      ),
    );
  });
}

/** A handle whose operation has failed before it began. */
export function failedOperation(host: HostContext, kind: string, error: Error): OperationHandle<never> {
  return OperationController.run<never>({ kind, clock: host.clock }, () => Promise.reject(error));
}
