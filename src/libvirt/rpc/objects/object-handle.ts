/** What all handles are made of: the reference to an object, and methods that are made from the protocol's tables. */
import { proceduresOf } from "../protocol/schema.js";
import { planMethod } from "./method-plan.js";
import type { MethodPlan, Owner } from "./method-plan.js";
import { runMethod } from "./run-method.js";
import type { MethodContext } from "./run-method.js";

const contexts = new WeakMap<object, MethodContext>();
let plans: ReadonlyMap<Owner, readonly MethodPlan[]> | undefined;

/** A class whose instances get the methods of an owner. `M`: the generated interface of these methods. */
export type MethodsClass<M> = abstract new (context: MethodContext, reference: object) => M;

/**
 * The base class of an owner's handles: it has the reference's members and the owner's methods. The methods are made when
 * the first handle is, so that importing the library reads no tables.
 */
export function methodsClass<M>(owner: Owner): MethodsClass<M> {
  let hasMethods = false;
  const Base = class {
    constructor(context: MethodContext, reference: object) {
      if (!hasMethods) for (const plan of plansOf(owner)) install(Base.prototype, plan);
      hasMethods = true;
      contexts.set(this, context);
      Object.assign(this, reference);
    }
  };
  return Base as unknown as MethodsClass<M>;
}

function plansOf(owner: Owner): readonly MethodPlan[] {
  plans ??= readPlans();
  return plans.get(owner) ?? [];
}

function readPlans(): ReadonlyMap<Owner, readonly MethodPlan[]> {
  const byOwner = new Map<Owner, MethodPlan[]>();
  for (const program of ["remote", "qemu", "lxc"] as const) {
    for (const procedure of proceduresOf(program)) {
      const plan = planMethod(procedure);
      if (plan === undefined) continue;
      const own = byOwner.get(plan.owner) ?? [];
      own.push(plan);
      byOwner.set(plan.owner, own);
    }
  }
  return byOwner;
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
