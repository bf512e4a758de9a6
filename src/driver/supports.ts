/** The type guard by which a caller asks for a facet. */
import type { ComputeDriver } from "./compute-driver.js";
import type { FacetName, Facets } from "./facets.js";

/**
 * True when the driver has the facet; the driver's type then has the facet's methods.
 * Without asking, a call to a method of a facet that the driver's type does not promise does not compile, and at run time rejects with `NotSupportedError`.
 */
export function supports<D extends ComputeDriver, F extends FacetName>(driver: D, facet: F): driver is D & Facets[F] {
  return driver.capabilities.facets[facet];
}
