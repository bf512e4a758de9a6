/** Objects without what is not there. */

/** The members of an object that have a value: a new object, which is its owner's to change. */
export function withoutUndefined<T extends object>(object: T): T {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;
}
