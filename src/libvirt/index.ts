/** Subpath `hypervise/libvirt`: the driver, and below it the client of libvirt's protocol and libvirt's XML with types. */
export * from "./driver/index.js";
export * from "./rpc/index.js";
export * from "./xml/index.js";
