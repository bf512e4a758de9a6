/** What all handles are made of: the reference to an object, and methods that are made from the protocol's tables. */
import { proceduresOf } from "../protocol/schema.js";
import { planMethod } from "./method-plan.js";
import type { MethodPlan, Owner } from "./method-plan.js";
import { runMethod } from "./run-method.js";
import type { MethodContext } from "./run-method.js";

const contexts = new WeakMap<object, MethodContext>();
const prototypes = new Map<Owner, object>();
let installed = false;

/** A class whose instances get the methods of an owner. `M`: the generated interface of these methods. */
export type MethodsClass<M> = abstract new (context: MethodContext, reference: object) => M;

/**
 * The base class of an owner's handles: it has the reference's members and the owner's methods. The methods are made when
 * the first handle is, so that importing the library reads no tables.
 */
export function methodsClass<M>(owner: Owner): MethodsClass<M> {
  const Base = class {
    constructor(context: MethodContext, reference: object) {
      if (!installed) installMethods();
      contexts.set(this, context);
      Object.assign(this, reference);
    }
  };
  prototypes.set(owner, Base.prototype);
  return Base as unknown as MethodsClass<M>;
}

function installMethods(): void {
  installed = true;
  for (const program of ["remote", "qemu", "lxc"] as const) {
    for (const procedure of proceduresOf(program)) {
      const plan = planMethod(procedure);
      const prototype = plan && prototypes.get(plan.owner);
      if (plan !== undefined && prototype !== undefined) install(prototype, plan);
    }
  }
}

function install(prototype: object, plan: MethodPlan): void {
  const method = async function (this: object, ...given: unknown[]): Promise<unknown> {
    const context = contexts.get(this);
    if (context === undefined) throw new TypeError(`${plan.method} was called without its object`);
    return runMethod(plan, context, plan.self === undefined ? undefined : this, given);
  };
  Object.defineProperty(method, "name", { value: plan.method });
  Object.defineProperty(prototype, plan.method, { value: method, writable: true, configurable: true });
}

export type { MethodContext } from "./run-method.js";
