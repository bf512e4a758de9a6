/** What each test of the suite works with. */
import assert from "node:assert/strict";
import { isHyperviseError } from "../../core/index.js";
import type { AllFacets, ComputeDriver, InstanceRef, InstanceSpec } from "../../driver/index.js";
import { withAllFacets } from "../../driver/index.js";
import type { ContractHarness, ContractSubject } from "./harness.js";

export interface InstanceOptions {
  readonly spec?: Partial<InstanceSpec>;
  /** Default true. */
  readonly powerOn?: boolean;
  /** Wait for the guest's operating system. Default false. */
  readonly booted?: boolean;
}

/** Opened by the suite before its tests, closed after them. */
export class ContractContext {
  readonly harness: ContractHarness;
  #subject: ContractSubject | undefined;
  #driver: ComputeDriver | undefined;

  constructor(harness: ContractHarness) {
    this.harness = harness;
  }

  async open(): Promise<void> {
    this.#subject = await this.harness.open();
    this.#driver = this.#subject.driver;
  }

  async close(): Promise<void> {
    await this.#subject?.dispose();
  }

  get subject(): ContractSubject {
    assert(this.#subject !== undefined, "the suite is not open");
    return this.#subject;
  }

  /** With the methods of all facets, any of which may reject. */
  get driver(): ComputeDriver & AllFacets {
    assert(this.#driver !== undefined, "the suite is not open");
    return withAllFacets(this.#driver);
  }

  /** A new driver process over the same host, initialised. */
  async restart(): Promise<ReturnType<ComputeDriver["initHost"]>> {
    this.#driver = await this.subject.restart();
    return this.#driver.initHost();
  }

  has(facet: (typeof this.harness.facets)[number]): boolean {
    return this.harness.facets.includes(facet);
  }

  /** Spawns an instance for the body, and afterwards destroys it whatever happened; then nothing of it may be left. */
  async withInstance(
    body: (instance: InstanceRef, spec: InstanceSpec) => Promise<void>,
    options: InstanceOptions = {},
  ): Promise<void> {
    const before = await this.subject.residue();
    const spec = this.subject.spec(options.spec);
    const instance = { uuid: spec.uuid, name: spec.name };
    try {
      await this.driver.spawn(spec, { powerOn: options.powerOn ?? true });
      if (options.booted === true) await this.subject.waitUntilBooted(this.driver, instance);
      await body(instance, spec);
    } finally {
      await this.driver.destroy(instance);
    }
    assert.deepEqual(await this.subject.residue(), before, "what is left after destroy");
  }

  /** The body must leave the host as it was. */
  async leavingNothing(body: () => Promise<void>): Promise<void> {
    const before = await this.subject.residue();
    await body();
    assert.deepEqual(await this.subject.residue(), before, "what is left");
  }
}

/** The promise must reject with an error of this package that has one of the codes; resolves to it. */
export async function rejectsWith(
  code: string | readonly string[],
  promise: Promise<unknown>,
): Promise<Error & { readonly code: string }> {
  const codes = typeof code === "string" ? [code] : code;
  const outcome = await promise.then(
    (value): { readonly value: unknown } => ({ value }),
    (error: unknown): { readonly error: unknown } => ({ error }),
  );
  if (!("error" in outcome)) assert.fail(`expected ${codes.join(" or ")}, but it resolved`);
  const { error } = outcome;
  assert(isHyperviseError(error), `expected ${codes.join(" or ")}, got ${String(error)}`);
  assert(codes.includes(error.code), `expected ${codes.join(" or ")}, got ${error.code}: ${error.message}`);
  return error;
}

/** A uuid that belongs to nobody. */
export const NOBODY: InstanceRef = Object.freeze({ uuid: "ffffffff-ffff-4fff-8fff-ffffffffffff", name: "nobody" });
