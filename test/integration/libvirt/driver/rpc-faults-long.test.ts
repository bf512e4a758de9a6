// Every operation, with each of its calls to libvirt failing once: refused, carried out and yet refused, with the connection lost after it, and with its caller giving
// up while it is on its way.
import { describe, expect, it } from "vitest";
import { isHyperviseError } from "../../../../src/core/index.js";
import { ErrorDomain, ErrorNumber } from "../../../../src/libvirt/index.js";
import type { LibvirtFault } from "../../../../src/testing/libvirt/index.js";
import { RPC_SCENARIOS } from "../../../unit/libvirt/driver/support/rpc-scenarios.js";
import type { RpcScenario } from "../../../unit/libvirt/driver/support/rpc-scenarios.js";
import { LibvirtStage, instance } from "../../../unit/libvirt/driver/support/libvirt-stage.js";

const KINDS = ["refused", "carried out, then refused", "carried out, then hung up", "given up"] as const;

describe("a call of libvirt's that fails", () => {
  it.for(RPC_SCENARIOS.map((scenario) => [scenario.name, scenario] as const))(
    "leaves nothing half-done: %s",
    { timeout: 240_000 },
    async ([, scenario]) => {
      const stage = await LibvirtStage.open();
      try {
        const { calls, end } = await dryRun(stage, scenario);
        for (const kind of KINDS)
          for (const [index, name] of calls.entries())
            await strike(stage, scenario, { kind, name, nth: nthOf(calls, index), end });
      } finally {
        await stage.close();
      }
    },
  );
});

interface Strike {
  readonly kind: (typeof KINDS)[number];
  readonly name: string;
  /** Which of the operation's calls of that name. */
  readonly nth: number;
  /** What is there when nothing fails. */
  readonly end: readonly string[];
}

async function strike(stage: LibvirtStage, scenario: RpcScenario, { kind, name, nth, end }: Strike): Promise<void> {
  const label = `${name} #${nth} ${kind}`;
  await scenario.arrange?.(stage);
  const before = await stage.ledger();
  const giveUp = new AbortController();
  const fault = setFault(stage, { kind, name, nth, giveUp });
  const failure = await failureOf(scenario.act(stage, { signal: giveUp.signal }));
  fault.remove();
  if (failure === undefined) expect(await stage.ledger(), label).toEqual(end);
  else {
    expect(isHyperviseError(failure), `${label}: ${String(failure)}`).toBe(true);
    const undone = scenario.failure === "undone" || (scenario.failure === "settling" && kind !== "given up");
    if (undone) expect(await stage.ledger(), label).toEqual(before);
    const again = await failureOf(scenario.act(stage, {}));
    if (again !== undefined)
      expect(scenario.doneAlready ?? [], `${label}: ${describeError(again)}`).toContain(
        (again as { code?: string }).code,
      );
    expect(await stage.ledger(), label).toEqual(end);
  }
  await reset(stage);
}

function setFault(
  { host: { faults } }: LibvirtStage,
  { kind, name, nth, giveUp }: Omit<Strike, "end"> & { readonly giveUp: AbortController },
): LibvirtFault {
  const procedure = name as Parameters<typeof faults.refuse>[0];
  const error = { code: ErrorNumber.internalError, domain: ErrorDomain.qemu, message: "a fault" };
  switch (kind) {
    case "refused":
      return faults.refuse(procedure, error, { nth, at: "before" });
    case "carried out, then refused":
      return faults.refuse(procedure, error, { nth, at: "after" });
    case "carried out, then hung up":
      return faults.hangUp(procedure, { nth, at: "after" });
    case "given up": {
      let calls = 0;
      const when = (): boolean => {
        if (++calls === nth) giveUp.abort();
        return false;
      };
      return faults.silence(procedure, { when });
    }
  }
}

async function dryRun(
  stage: LibvirtStage,
  scenario: RpcScenario,
): Promise<{ readonly calls: readonly string[]; readonly end: readonly string[] }> {
  await scenario.arrange?.(stage);
  const { received } = stage.host.server;
  const first = received.length;
  await scenario.act(stage, {});
  const calls = received.slice(first).map(({ name }) => name);
  const end = await stage.ledger();
  await reset(stage);
  return { calls, end };
}

async function reset(stage: LibvirtStage): Promise<void> {
  await stage.driver.destroy(instance);
  const left = await stage.ledger();
  expect(left.filter((line) => !line.includes('"kind":"image"'))).toEqual([]);
}

function nthOf(calls: readonly string[], index: number): number {
  return calls.slice(0, index + 1).filter((name) => name === calls[index]).length;
}

async function failureOf(work: Promise<unknown>): Promise<Error | undefined> {
  return work.then(
    () => undefined,
    (error: unknown) => error as Error,
  );
}

function describeError(error: Error): string {
  const { undoErrors = [], cause } = error as { readonly undoErrors?: readonly Error[]; readonly cause?: unknown };
  const parts = [...undoErrors, ...(cause instanceof Error ? [cause] : [])];
  return [error.message, ...parts.map((part) => `(${describeError(part)})`)].join(" ");
}
