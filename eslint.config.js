import { fileURLToPath } from "node:url";
import eslint from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

const root = fileURLToPath(new URL(".", import.meta.url));

const nodeGlobals = Object.fromEntries(
  ["AbortController", "AbortSignal", "Buffer", "URL", "console", "fetch", "performance", "process"]
    .concat(["clearInterval", "clearTimeout", "setImmediate", "setInterval", "setTimeout", "structuredClone"])
    .concat(["TextDecoder", "TextEncoder", "queueMicrotask", "clearImmediate"])
    .map((name) => [name, "readonly"]),
);

export default defineConfig(
  globalIgnores(["dist/", "coverage/", "temp/", ".cache/", "test/fixtures/", "**/*.gen.ts"]),
  eslint.configs.recommended,
  {
    files: ["**/*.{js,mjs,cjs}"],
    languageOptions: { globals: nodeGlobals },
    rules: { "no-unused-vars": ["error", { argsIgnorePattern: "^_" }] },
  },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: {
        project: ["./tsconfig.json", "./test/types/tsconfig.json"],
        tsconfigRootDir: root,
      },
    },
    rules: {
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "separate-type-imports" }],
      "@typescript-eslint/consistent-type-exports": "error",
      "@typescript-eslint/explicit-module-boundary-types": "off",
      "@typescript-eslint/no-deprecated": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-import-type-side-effects": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
      // `keyof T & string` is how one says "a name of T".
      "@typescript-eslint/no-redundant-type-constituents": "off",
      "@typescript-eslint/no-unnecessary-condition": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/only-throw-error": "error",
      "@typescript-eslint/prefer-promise-reject-errors": "error",
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/return-await": ["error", "error-handling-correctness-only"],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/ban-ts-comment": ["error", { "ts-expect-error": "allow-with-description" }],
      eqeqeq: "error",
      "no-console": "error",
      "no-restricted-syntax": [
        "error",
        { selector: "TSEnumDeclaration", message: "Use a union of string literals or an `as const` table." },
        { selector: "TSParameterProperty", message: "Declare a #private or readonly field." },
      ],
    },
  },
  {
    files: ["src/**/*.ts"],
    rules: {
      "max-lines": ["error", { max: 500, skipBlankLines: false, skipComments: false }],
      "no-restricted-globals": [
        "error",
        { name: "require", message: "Use createRequire from node:module, on first use." },
      ],
      "no-restricted-properties": [
        "error",
        { object: "process", property: "on", message: "The embedder's process is a guest house: no handlers on it." },
        { object: "process", property: "once", message: "The embedder's process is a guest house: no handlers on it." },
        { object: "process", property: "stdout", message: "A library does not write to the embedder's output." },
        { object: "process", property: "stderr", message: "A library does not write to the embedder's output." },
        { object: "process", property: "exit", message: "A library does not end the embedder's process." },
        { object: "process", property: "chdir", message: "A library does not move the embedder's process." },
      ],
    },
  },
  {
    files: ["src/core/**/*.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          paths: [
            { name: "node:net", allowImportNames: ["isIP", "isIPv4", "isIPv6"], message: "src/core does no I/O." },
          ],
        },
      ],
    },
  },
  {
    // Tests, examples and benchmarks talk to the person who runs them, and tests hand in and throw what types forbid.
    files: ["test/**/*.ts", "examples/**/*.ts", "bench/**/*.ts", "scripts/**/*.ts"],
    rules: {
      "no-console": "off",
      "no-restricted-syntax": "off",
      "@typescript-eslint/no-base-to-string": "off",
      "@typescript-eslint/no-empty-object-type": "off",
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/only-throw-error": "off",
      "@typescript-eslint/prefer-promise-reject-errors": "off",
      "@typescript-eslint/restrict-plus-operands": "off",
      "@typescript-eslint/restrict-template-expressions": "off",
      "@typescript-eslint/unbound-method": "off",
    },
  },
  {
    files: ["test/types/**/*.ts"],
    rules: {
      "@typescript-eslint/no-floating-promises": "off",
      // What the compiler is expected to refuse has no type.
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-call": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unused-expressions": "off",
      "@typescript-eslint/no-unused-vars": "off",
    },
  },
  { files: ["*.config.ts"], rules: { "@typescript-eslint/no-unsafe-argument": "off" } },
);
