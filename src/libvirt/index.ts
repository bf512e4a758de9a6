export * from "./rpc/index.js";
export * from "./xml/index.js";
