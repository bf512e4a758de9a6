/** Makes one of classes that are the same. */
import type { ChildMember, ClassGraph, ElementClass } from "./build-classes.js";

/**
 * The graph with as few classes as tell its elements apart: classes that differ in nothing but their number become one, also
 * where they refer to each other in circles.
 */
export function mergeClasses(graph: ClassGraph): ClassGraph {
  let partition = partitionBy(graph.classes, (type) => own(type));
  for (let count = 0; count !== new Set(partition).size;) {
    count = new Set(partition).size;
    const before = partition;
    partition = partitionBy(graph.classes, (type, id) =>
      [before[id], ...type.children.map((child) => before[child.type])].join(" "),
    );
  }
  const remaining = graph.classes.filter((_type, id) => partition.indexOf(partition[id]!) === id);
  const renumber = (child: ChildMember): ChildMember => ({ ...child, type: partition[child.type]! });
  return {
    ...graph,
    classes: remaining.map((type) => ({ ...type, children: type.children.map(renumber) })),
    roots: new Map([...graph.roots].map(([kind, root]) => [kind, { ...root, type: partition[root.type]! }])),
  };
}

/** Numbers from 0 in the order of first appearance. */
function partitionBy(classes: readonly ElementClass[], key: (type: ElementClass, id: number) => string): number[] {
  const numbers = new Map<string, number>();
  return classes.map((type, id) => {
    const text = key(type, id);
    const number = numbers.get(text) ?? numbers.size;
    numbers.set(text, number);
    return number;
  });
}

function own({ attributes, children, text, isOpen, order }: ElementClass): string {
  const names = children.map((child) => [child.name, child.repeats]);
  const sorted = [...attributes].sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([sorted, names.sort(), text ?? null, isOpen, order.map(String).sort()]);
}
