/** The driver itself: every method of the interface and of the facets, over one hypervisor. */
import { NotSupportedError } from "../core/index.js";
import type { CommonOptions, HyperviseError, OperationOptions } from "../core/index.js";
import type { AvailableResource, Inventory } from "./host-facts.js";
import type {
  ComputeDriver,
  DestroyOptions,
  EventOptions,
  PowerOffOptions,
  RebootType,
  SpawnPlan,
} from "./compute-driver.js";
import type { AllFacets, FacetName, Facets } from "./facets.js";
import { FACET_METHODS, HANDLE_METHODS } from "./facets.js";
import { FACET_NAMES } from "./capabilities.js";
import type { DriverCapabilities } from "./capabilities.js";
import type { DiskInfo } from "../storage/index.js";
import type { DriverEvent } from "./events.js";
import { FACET_OPERATIONS } from "./facet-operations.js";
import { createHostContext } from "./create-host-context.js";
import type { DriverParts } from "./create-host-context.js";
import { failedOperation } from "./operation-handle.js";
import type { HostContext } from "./host-context.js";
import type { InstanceInfo, SpawnResult, StopResult } from "./results.js";
import type { InstanceRef, InstanceSpec } from "./instance-spec.js";
import type { RecoveryReport } from "./recovery-report.js";
import { cleanup, deleteInstanceFiles, destroy } from "./operations/destroy.js";
import { close } from "./operations/close.js";
import {
  estimateInstanceOverhead,
  getAvailableResource,
  getHostIpAddress,
  getHostUptimeMs,
  getInventory,
} from "./operations/host-resources.js";
import {
  getInfo,
  getInstanceDiskInfo,
  getSpec,
  instanceExists,
  instanceOnDisk,
  listInstances,
} from "./operations/queries.js";
import { initHost } from "./operations/init-host.js";
import { listTaggedDevices } from "./operations/list-tagged-devices.js";
import { plan } from "./operations/plan.js";
import { powerOff } from "./operations/power-off.js";
import { powerOn, resumeStateOnHostBoot } from "./operations/power-on.js";
import { reboot } from "./operations/reboot.js";
import { spawn } from "./operations/spawn.js";
import { subscribe } from "./operations/events.js";
import type { TaggedInstanceDevice } from "./tagged-devices.js";

type Named = Pick<InstanceRef, "uuid">;
type Promised<F extends FacetName> = (F extends FacetName ? (facet: Facets[F]) => void : never) extends (
  facet: infer I,
) => void
  ? I
  : unknown;

/** A driver class whose instances are known to the compiler to have these facets. */
export type DriverClass<F extends FacetName = never> = new (parts: DriverParts) => ComputeDriver & Promised<F>;

/** Methods that answer nothing. */
const PLAIN_METHODS: ReadonlySet<string> = new Set(["filterDeferApplyOn"]);

let hostOf: (driver: Driver) => HostContext;

class Driver implements ComputeDriver {
  readonly #host: HostContext;

  static {
    hostOf = (driver) => driver.#host;
  }

  constructor(parts: DriverParts) {
    this.#host = createHostContext(parts);
  }

  get hypervisorType(): string {
    return this.#host.hypervisor.type;
  }
  get capabilities(): DriverCapabilities {
    return this.#host.lifecycle.capabilities;
  }

  initHost(options?: CommonOptions): Promise<RecoveryReport> {
    return initHost(this.#host, options);
  }
  close(): Promise<void> {
    return close(this.#host);
  }
  [Symbol.asyncDispose](): Promise<void> {
    return close(this.#host);
  }
  events(options?: EventOptions): AsyncIterableIterator<DriverEvent> {
    return subscribe(this.#host, options);
  }

  spawn(spec: InstanceSpec, options?: OperationOptions & { readonly powerOn?: boolean }): Promise<SpawnResult> {
    return spawn(this.#host, spec, options);
  }
  destroy(instance: InstanceRef, options?: DestroyOptions): Promise<void> {
    return destroy(this.#host, instance, options);
  }
  cleanup(instance: InstanceRef, options?: OperationOptions & { readonly destroyDisks?: boolean }): Promise<void> {
    return cleanup(this.#host, instance, options);
  }
  powerOn(instance: InstanceRef, options?: OperationOptions): Promise<void> {
    return powerOn(this.#host, instance, options);
  }
  powerOff(instance: InstanceRef, options?: PowerOffOptions): Promise<StopResult> {
    return powerOff(this.#host, instance, options);
  }
  reboot(
    instance: InstanceRef,
    type: RebootType,
    options?: OperationOptions & { readonly graceMs?: number },
  ): Promise<{ readonly type: RebootType }> {
    return reboot(this.#host, instance, type, options);
  }

  getInfo(instance: Named, options?: CommonOptions): Promise<InstanceInfo> {
    return getInfo(this.#host, instance, options);
  }
  getSpec(instance: Named): Promise<InstanceSpec> {
    return getSpec(this.#host, instance);
  }
  listInstances(options?: CommonOptions): Promise<readonly InstanceRef[]> {
    return listInstances(this.#host, options);
  }
  async listInstanceUuids(options?: CommonOptions): Promise<readonly string[]> {
    return (await listInstances(this.#host, options)).map(({ uuid }) => uuid);
  }
  async getNumInstances(options?: CommonOptions): Promise<number> {
    return (await listInstances(this.#host, options)).length;
  }
  instanceExists(instance: Named, options?: CommonOptions): Promise<boolean> {
    return instanceExists(this.#host, instance, options);
  }
  getInstanceDiskInfo(instance: Named): Promise<readonly DiskInfo[]> {
    return getInstanceDiskInfo(this.#host, instance);
  }
  listTaggedDevices(instance: Named, options?: CommonOptions): Promise<readonly TaggedInstanceDevice[]> {
    return listTaggedDevices(this.#host, instance, options);
  }
  instanceOnDisk(instance: Named): Promise<boolean> {
    return instanceOnDisk(this.#host, instance);
  }
  deleteInstanceFiles(instance: InstanceRef): Promise<boolean> {
    return deleteInstanceFiles(this.#host, instance);
  }
  resumeStateOnHostBoot(instance: InstanceRef, options?: OperationOptions): Promise<void> {
    return resumeStateOnHostBoot(this.#host, instance, options);
  }

  getAvailableResource(options?: CommonOptions): Promise<AvailableResource> {
    return getAvailableResource(this.#host, options);
  }
  getInventory(options?: CommonOptions): Promise<Inventory> {
    return getInventory(this.#host, options);
  }
  estimateInstanceOverhead(flavor: InstanceSpec["flavor"]): ReturnType<ComputeDriver["estimateInstanceOverhead"]> {
    return estimateInstanceOverhead(this.#host, flavor);
  }
  getHostIpAddress(options?: CommonOptions): Promise<string> {
    return getHostIpAddress(this.#host, options);
  }
  getHostUptimeMs(options?: CommonOptions): Promise<number> {
    return getHostUptimeMs(this.#host, options);
  }
  plan(spec: InstanceSpec): Promise<SpawnPlan> {
    return plan(this.#host, spec);
  }
}

for (const facet of FACET_NAMES) {
  for (const method of FACET_METHODS[facet]) {
    const value = facetMethod(facet, method);
    Object.defineProperty(Driver.prototype, method, { value, configurable: true, writable: true, enumerable: false });
  }
}

/** A facet's method: refuses what the capabilities lack, in the manner in which the method answers. */
function facetMethod(facet: FacetName, method: string): (this: Driver, ...args: unknown[]) => unknown {
  const operations = FACET_OPERATIONS[facet] as unknown as Record<
    string,
    (host: HostContext, ...args: unknown[]) => unknown
  >;
  const operation = operations[method] as (host: HostContext, ...args: unknown[]) => unknown;
  if (PLAIN_METHODS.has(method)) {
    return function (...args) {
      const host = hostOf(this);
      assertFacet(host, facet);
      return operation(host, ...args);
    };
  }
  if (HANDLE_METHODS.has(method)) {
    return function (...args) {
      const host = hostOf(this);
      try {
        assertFacet(host, facet);
        return operation(host, ...args);
      } catch (error) {
        return failedOperation(host, method, error as HyperviseError);
      }
    };
  }
  return async function (...args) {
    const host = hostOf(this);
    assertFacet(host, facet);
    return operation(host, ...args);
  };
}

/** @throws NotInitializedError, ClosedError, NotSupportedError */
function assertFacet({ lifecycle }: HostContext, facet: FacetName): void {
  lifecycle.assertReady();
  if (!lifecycle.capabilities.facets[facet]) throw new NotSupportedError({ capability: facet });
}

/**
 * The class that drivers extend. At run time it carries the methods of all facets; its type promises those of none:
 * `class MyDriver extends (BaseDriver as DriverClass<"volumes" | "interfaces">)` promises more.
 */
export const BaseDriver: DriverClass = Driver;

/** A driver over any hypervisor. Ask `supports` after `initHost` for what it can do beside the core. */
export function createDriver(parts: DriverParts): ComputeDriver {
  return new Driver(parts);
}

/** For code that calls facets by name, such as conformance tests: the methods of all facets, any of which may reject with `NotSupportedError`. */
export function withAllFacets(driver: ComputeDriver): ComputeDriver & AllFacets {
  return driver as ComputeDriver & AllFacets;
}
