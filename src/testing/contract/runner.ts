/** The little that the suite needs of a test runner; `vitest`, `jest` and `node:test` all have it. */

export interface ContractRunner {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void>, timeoutMs?: number): unknown;
  /** `node:test` calls it `before`. */
  readonly beforeAll?: (body: () => Promise<void>, timeoutMs?: number) => unknown;
  readonly before?: (body: () => Promise<void>) => unknown;
  /** `node:test` calls it `after`. */
  readonly afterAll?: (body: () => Promise<void>, timeoutMs?: number) => unknown;
  readonly after?: (body: () => Promise<void>) => unknown;
}

export interface Hooks {
  readonly beforeAll: (body: () => Promise<void>, timeoutMs: number) => void;
  readonly afterAll: (body: () => Promise<void>, timeoutMs: number) => void;
}

/** @throws TypeError when the runner has neither name of a hook. */
export function hooksOf(runner: ContractRunner): Hooks {
  const { before, after } = runner;
  const beforeAll =
    runner.beforeAll ?? (before === undefined ? undefined : (body: () => Promise<void>) => before(body));
  const afterAll = runner.afterAll ?? (after === undefined ? undefined : (body: () => Promise<void>) => after(body));
  if (beforeAll === undefined || afterAll === undefined)
    throw new TypeError("the test runner has no beforeAll and afterAll, nor before and after");
  return {
    beforeAll: (body, timeoutMs) => void beforeAll(body, timeoutMs),
    afterAll: (body, timeoutMs) => void afterAll(body, timeoutMs),
  };
}
