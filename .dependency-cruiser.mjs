// The floors of the house: a room imports only from rooms on lower floors, and only through their index.ts.

const rooms = [
  { name: "core", path: "^src/core/", floor: 0 },
  { name: "host", path: "^src/host/", floor: 0.5 },
  { name: "qmp", path: "^src/qmp/", floor: 1 },
  { name: "libvirt/rpc", path: "^src/libvirt/rpc/", floor: 1 },
  { name: "libvirt/xml", path: "^src/libvirt/xml/", floor: 1 },
  { name: "firewall", path: "^src/firewall/", floor: 2 },
  { name: "network", path: "^src/network/", floor: 2 },
  { name: "storage", path: "^src/storage/", floor: 2 },
  { name: "driver", path: "^src/driver/", floor: 3 },
  { name: "hypervisor", path: "^src/hypervisor/", floor: 3.5 },
  { name: "fake", path: "^src/fake/", floor: 4 },
  { name: "kvm", path: "^src/kvm/", floor: 4 },
  { name: "libvirt", path: "^src/libvirt/(?!rpc/|xml/)", floor: 4 },
  { name: "testing", path: "^src/testing/", floor: 4 },
];

const nativePackages = "node_modules/(@koromix/)?(koffi|ioctl-napi)";

/** No room imports one of its own floor or above. */
const floorRules = rooms.map((room) => ({
  name: `floor-of-${room.name}`,
  comment: `src/${room.name} may import only from rooms below it.`,
  severity: "error",
  from: { path: room.path },
  to: { path: rooms.filter((other) => other !== room && other.floor >= room.floor).map((other) => other.path) },
}));

/** Another room is entered through its face. */
const faceRules = rooms.map((room) => ({
  name: `face-of-${room.name}`,
  comment: `Import src/${room.name} through its index.ts.`,
  severity: "error",
  from: { pathNot: room.path },
  to: { path: room.path, pathNot: `^src/${room.name}/index\\.ts$` },
}));

export default {
  forbidden: [
    ...floorRules,
    ...faceRules,
    {
      name: "no-cycles",
      comment: "Nothing imports itself by a detour.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "no-unresolved",
      comment: "Each import leads to a file or a package.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
    {
      // node:net is there for isIP alone: eslint.config.js sees to that.
      name: "core-does-no-io",
      comment: "src/core is free of I/O: of Node's modules it may use only those that do none.",
      severity: "error",
      from: { path: "^src/core/" },
      to: { dependencyTypes: ["core"], pathNot: "^(node:)?(diagnostics_channel|util|crypto|events|net)$" },
    },
    {
      name: "core-has-no-packages",
      comment: "src/core imports no package.",
      severity: "error",
      from: { path: "^src/core/" },
      to: { path: "node_modules/", dependencyTypesNot: ["core"] },
    },
    {
      name: "main-entry",
      comment: "src/index.ts is the interface, its types and its errors, and brings in no hypervisor and no protocol.",
      severity: "error",
      from: { path: "^src/index\\.ts$" },
      to: { path: "^src/", pathNot: "^src/(core|firewall|network|storage|driver)/" },
    },
    {
      name: "nothing-imports-main",
      comment: "src/index.ts is for users of the package, not for its rooms.",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^src/index\\.ts$" },
    },
    {
      // The rooms that src/fake is made of; what one of them wants of a protocol it loads when it is first used.
      name: "fake-speaks-no-protocol",
      comment: "Importing hypervise/fake must load no wire protocol and no XML library, by whatever way.",
      severity: "error",
      from: { path: "^src/(firewall|network|storage|driver|fake)/" },
      to: {
        path: ["^src/(qmp|libvirt)/", "node_modules/xmlbuilder2"],
        dependencyTypesNot: ["dynamic-import", "type-only"],
      },
    },
    {
      name: "native-on-first-use",
      comment: "A native addon is optional: load it when it is first used, never at import.",
      severity: "error",
      from: { path: "^src/" },
      to: { path: nativePackages, dependencyTypesNot: ["dynamic-import", "type-only"] },
    },
    {
      name: "declared-packages",
      comment: "The published code imports only packages that package.json declares for its users.",
      severity: "error",
      from: { path: "^src/" },
      to: { dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"], dependencyTypesNot: ["type-only"] },
    },
    {
      name: "inside-the-house",
      comment: "The published code imports no test, script, example or benchmark.",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(test|scripts|examples|bench)/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    moduleSystems: ["es6", "cjs"],
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "require", "node", "default", "types"],
    },
  },
};
