/** The XML library, loaded when the first document is read or written. */
import { createRequire } from "node:module";
import type * as XmlBuilder2 from "xmlbuilder2";

/** What is used of it. */
export type Library = Pick<typeof XmlBuilder2, "create">;

const require = createRequire(import.meta.url);
let library: Library | undefined;

/** xmlbuilder2, which takes some 60 ms to load. */
export function xmlLibrary(): Library {
  library ??= require("xmlbuilder2") as Library;
  return library;
}
