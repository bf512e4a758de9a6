import { getEventListeners } from "node:events";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EventHub, RingBuffer } from "../../../src/core/index.js";
import type { EventSubscription } from "../../../src/core/index.js";

type Item = number | { readonly dropped: number };

const newHub = (): EventHub<Item> => new EventHub<Item>({ overflow: (dropped) => ({ dropped }) });

async function drain<T>(subscription: EventSubscription<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of subscription) items.push(item);
  return items;
}

describe("EventHub", () => {
  it("loses nothing that is published after subscribe() has returned", async () => {
    const hub = newHub();
    hub.publish(0);
    const subscription = hub.subscribe();
    hub.publish(1);
    const pending = [subscription.next(), subscription.next()];
    hub.publish(2);
    hub.publish(3);
    hub.close();
    expect(await Promise.all(pending)).toEqual([
      { done: false, value: 1 },
      { done: false, value: 2 },
    ]);
    expect(await drain(subscription)).toEqual([3]);
  });

  it("gives each subscriber every event that its filter takes", async () => {
    const hub = newHub();
    const all = hub.subscribe();
    const even = hub.subscribe({ filter: (n) => typeof n === "number" && n % 2 === 0 });
    for (let n = 0; n < 6; n++) hub.publish(n);
    hub.close();
    expect(await drain(all)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await drain(even)).toEqual([0, 2, 4]);
  });

  it("ends only the subscriber whose filter throws, with its error", async () => {
    const hub = newHub();
    const bad = hub.subscribe({
      filter: () => {
        throw new Error("filter");
      },
    });
    const good = hub.subscribe();
    hub.publish(1);
    await expect(bad.next()).rejects.toThrow("filter");
    expect(await bad.next()).toEqual({ done: true, value: undefined });
    expect(await good.next()).toEqual({ done: false, value: 1 });
    expect(hub.size).toBe(1);
  });

  it("drops the oldest of a slow reader and says how many, in their place", async () => {
    const hub = newHub();
    const slow = hub.subscribe({ capacity: 3 });
    for (let n = 0; n < 10; n++) hub.publish(n);
    expect(slow.queued).toBe(4);
    expect((await slow.next()).value).toEqual({ dropped: 7 });
    for (let n = 10; n < 12; n++) hub.publish(n);
    hub.close();
    expect(await drain(slow)).toEqual([{ dropped: 2 }, 9, 10, 11]);
  });

  it("agrees with a model whatever the order of publishing and reading", async () => {
    const step = fc.oneof({ weight: 2, arbitrary: fc.constant("publish" as const) }, fc.constant("read" as const));
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 60 }), async (capacity, steps) => {
        const hub = newHub();
        const subscription = hub.subscribe({ capacity });
        const reads: Promise<IteratorResult<Item, undefined>>[] = [];
        const expected: Item[] = [];
        let queue: number[] = [];
        let [dropped, waiting, next] = [0, 0, 0];
        for (const what of steps) {
          if (what === "publish") {
            hub.publish(next);
            if (waiting > 0) {
              waiting--;
              expected.push(next);
            } else if (queue.push(next) > capacity) {
              queue = queue.slice(1);
              dropped++;
            }
            next++;
          } else {
            reads.push(subscription.next());
            if (dropped > 0) expected.push({ dropped });
            else if (queue.length > 0) expected.push(queue.shift() as number);
            else waiting++;
            dropped = dropped > 0 ? 0 : dropped;
          }
        }
        hub.close();
        const results = await Promise.all(reads);
        expect(results.filter((r) => r.done !== true).map((r) => r.value)).toEqual(expected);
        expect(results.filter((r) => r.done === true)).toHaveLength(waiting);
        expect(await drain(subscription)).toEqual([...(dropped > 0 ? [{ dropped }] : []), ...queue]);
      }),
    );
  });

  it("unsubscribes on return(), on leaving the loop and on disposal", async () => {
    const hub = newHub();
    const a = hub.subscribe();
    hub.publish(1);
    expect(await a.return()).toEqual({ done: true, value: undefined });
    expect(await a.next()).toEqual({ done: true, value: undefined });
    const b = hub.subscribe();
    hub.publish(2);
    for await (const item of b) {
      expect(item).toBe(2);
      break;
    }
    {
      await using c = hub.subscribe();
      expect(c.ended).toBe(false);
    }
    expect(hub.size).toBe(0);
  });

  it("wakes a waiting reader when its signal aborts, and drops what it had queued", async () => {
    const hub = newHub();
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = hub.subscribe({ signal });
    const full = hub.subscribe({ signal, initial: [7] });
    const next = waiting.next();
    hub.publish(1);
    const after = waiting.next();
    controller.abort();
    expect(await next).toEqual({ done: false, value: 1 });
    expect(await after).toEqual({ done: true, value: undefined });
    expect(await full.next()).toEqual({ done: true, value: undefined });
    expect(full.queued).toBe(0);
    expect(hub.size).toBe(0);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
    expect(await drain(hub.subscribe({ signal }))).toEqual([]);
    expect(hub.size).toBe(0);
  });

  it("ends its subscribers after what they have queued, with the error it was closed with", async () => {
    const hub = newHub();
    const subscription = hub.subscribe();
    const waiting = hub.subscribe();
    const next = waiting.next();
    hub.publish(1);
    const rejected = expect(waiting.next()).rejects.toThrow("connection lost");
    expect((await next).value).toBe(1);
    hub.close(new Error("connection lost"));
    hub.close();
    hub.publish(2);
    await rejected;
    expect(await subscription.next()).toEqual({ done: false, value: 1 });
    await expect(subscription.next()).rejects.toThrow("connection lost");
    expect(await subscription.next()).toEqual({ done: true, value: undefined });
    const late = hub.subscribe({ initial: [9] });
    expect(await late.next()).toEqual({ done: false, value: 9 });
    await expect(late.next()).rejects.toThrow("connection lost");
    expect([hub.size, hub.closed]).toEqual([0, true]);
  });

  it("leaves nothing on a signal over 10,000 subscriptions, and can be subscribed to while publishing", async () => {
    const hub = newHub();
    const { signal } = new AbortController();
    for (let i = 0; i < 10_000; i++) await hub.subscribe({ signal }).return();
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
    const leaver = hub.subscribe({ filter: () => (void leaver.return(), true) });
    hub.publish(1);
    expect(hub.size).toBe(0);
  });

  it("does not let a broken overflow marker reach the publisher", async () => {
    const hub = new EventHub<number>({
      overflow: () => {
        throw new Error("marker");
      },
    });
    const subscription = hub.subscribe({ capacity: 1 });
    hub.publish(1);
    hub.publish(2);
    await expect(subscription.next()).rejects.toThrow("marker");
    expect((await subscription.next()).value).toBe(2);
  });
});

describe("RingBuffer", () => {
  it("is a queue that forgets its oldest", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.array(fc.boolean(), { maxLength: 400 }), (capacity, steps) => {
        const ring = new RingBuffer<number>(capacity);
        const model: number[] = [];
        steps.forEach((push, i) => {
          if (!push) return expect(ring.shift()).toBe(model.shift());
          expect(ring.push(i)).toBe(model.length === capacity);
          model.push(i);
          if (model.length > capacity) model.shift();
          expect(ring.size).toBe(model.length);
        });
      }),
    );
  });
});
