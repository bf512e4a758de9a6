import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { emitEnums, parameterTable } from "../../../scripts/generate-libvirt/emit-constants.js";
import { generate } from "../../../scripts/generate-libvirt/generate.js";
import { camelCase, pascalCase, protocolWords, words } from "../../../scripts/generate-libvirt/names.js";
import { parseProtocol } from "../../../scripts/generate-libvirt/protocol-parser.js";
import { readElements } from "../../../scripts/generate-libvirt/read-elements.js";
import { cacheDirectory } from "../../../scripts/lib/cache-directory.mjs";
import { LIBVIRT_RELEASES, libvirtProtocolFolder } from "../../../scripts/lib/libvirt-source.mjs";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const UNION = `
  const REMOTE_STRING_MAX = 4194304;
  typedef string remote_nonnull_string<REMOTE_STRING_MAX>;
  typedef remote_nonnull_string *remote_string;
  typedef opaque remote_uuid[VIR_UUID_BUFLEN];
  struct remote_nonnull_domain { remote_nonnull_string name; remote_uuid uuid; int id; };
  struct remote_error { int code; remote_string message; };
  union remote_typed_param_value switch (int type) {
    case VIR_TYPED_PARAM_INT: int i; case VIR_TYPED_PARAM_UINT: unsigned int ui; case VIR_TYPED_PARAM_LLONG: hyper l;
    case VIR_TYPED_PARAM_ULLONG: unsigned hyper ul; case VIR_TYPED_PARAM_DOUBLE: double d;
    case VIR_TYPED_PARAM_BOOLEAN: int b; case VIR_TYPED_PARAM_STRING: remote_nonnull_string s;
  };
  struct remote_typed_param { remote_nonnull_string field; remote_typed_param_value value; };
`;
const TYPES = ["INT", "UINT", "LLONG", "ULLONG", "DOUBLE", "BOOLEAN", "STRING"]
  .map((name, i) => `<enum name='VIR_TYPED_PARAM_${name}' value='${i + 1}' type='virTypedParameterType'/>`)
  .join("");

/** A folder such as the generator reads, with one small protocol in it. */
function source(remote: string, api = "", c = ""): string {
  const folder = mkdtempSync(join(tmpdir(), "generate-libvirt-"));
  folders.push(folder);
  mkdirSync(join(folder, "api"));
  mkdirSync(join(folder, "src", "remote"), { recursive: true });
  const empty = (name: string): string =>
    `enum ${name}_procedure { ${name.toUpperCase()}_PROC_DOMAIN_NOTHING_OF_${name.toUpperCase()} = 1 };`;
  writeFileSync(join(folder, "src", "remote", "remote_protocol.x"), UNION + remote);
  writeFileSync(join(folder, "src", "remote", "qemu_protocol.x"), empty("qemu"));
  writeFileSync(join(folder, "src", "remote", "lxc_protocol.x"), empty("lxc"));
  writeFileSync(join(folder, "src", "file.c"), c);
  const uuid = "<macro name='VIR_UUID_BUFLEN' raw='(16)'/>";
  writeFileSync(join(folder, "api", "libvirt-api.xml"), `<api>${uuid}${TYPES}${api}</api>`);
  for (const name of ["qemu", "lxc"]) writeFileSync(join(folder, "api", `libvirt-${name}-api.xml`), "<api/>");
  return folder;
}

function files(...sources: string[]): (name: string) => string {
  const all = generate(sources.map((folder, i) => ({ version: `${i + 1}.0`, folder })));
  return (name) => all.get(`src/libvirt/rpc/${name}.gen.ts`) ?? "";
}

const ONE = `
  const LIST_MAX = 0x10;
  struct remote_domain_get_xml_desc_args { remote_nonnull_domain dom; unsigned int flags; };
  struct remote_domain_get_xml_desc_ret { remote_nonnull_string xml; char model[32]; opaque cookie<LIST_MAX>; };
  struct remote_domain_event_nic_msg { int callbackID; remote_nonnull_domain dom; remote_string names<LIST_MAX>; };
  enum remote_procedure {
    /** @generate: both
     *  @priority: high
     *  @readstream: 1 */
    REMOTE_PROC_DOMAIN_GET_XML_DESC = 1,
    /** @acl: none */
    REMOTE_PROC_DOMAIN_EVENT_NIC = 2
`;
const API = `
  <enum name='VIR_DOMAIN_XML_SECURE' value='1' type='virDomainXMLFlags' version='0.1.0'/>
  <enum name='VIR_DOMAIN_XML_INACTIVE' value='VIR_DOMAIN_XML_SECURE' type='virDomainXMLFlags' version='9.5.0'/>
  <enum name='VIR_DOMAIN_XML_LAST' value='2' type='virDomainXMLFlags'/>
  <enum name='VIR_DOMAIN_PLACE_LAST' value='1' type='virDomainPlace'/>
  <enum name='VIR_DOMAIN_PLACE_FIRST' value='2' type='virDomainPlace'/>
  <function name='virDomainGetXMLDesc' version='0.0.3'>
    <arg name='flags' type='unsigned int' info='bitwise-OR of virDomainXMLFlags'/>
  </function>
  <macro name='VIR_DOMAIN_WEIGHT' string='weight'><info><![CDATA[the weight, as VIR_TYPED_PARAM_UINT]]></info></macro>
  <macro name='VIR_DOMAIN_QUOTA' string='quota'><info><![CDATA[the quota as an unsigned long long]]></info></macro>
  <macro name='VIR_DOMAIN_LIMIT' string='limit'><info><![CDATA[whatever, as string]]></info></macro>
  <macro name='VIR_DOMAIN_X_SUFFIX_NAME' string='.name'><info><![CDATA[as string]]></info></macro>
`;
const C = `
virDomainGetXMLDesc(virDomainPtr dom)
{
    flags |= VIR_TYPED_PARAM_STRING_OKAY;
}
static int check(void)
{
    return virTypedParamsValidate(params, nparams, VIR_DOMAIN_LIMIT, VIR_TYPED_PARAM_LLONG, NULL);
}
`;

describe("the generator of libvirt's protocol", () => {
  it("reads the language of protocol files: constants, arrays, options, annotations, lines for the C compiler", () => {
    const text = `%#include "x.h"\nconst A = 5; const B = A; enum e { ONE = 1, /** @priority: high\n @acl: a:b */ TWO = 2 };
      struct s { unsigned hyper a<B>; remote_x *b; char c[3]; unsigned char d; };`;
    const { constants, enums, structs } = parseProtocol(text, "test.x");
    expect([...constants]).toEqual([
      ["A", 5],
      ["B", "A"],
    ]);
    expect(enums.get("e")?.[1]).toEqual({
      name: "TWO",
      value: 2,
      annotations: [
        ["priority", "high"],
        ["acl", "a:b"],
      ],
    });
    expect(structs.get("s")).toEqual([
      { name: "a", type: "unsigned hyper", shape: { kind: "array", max: "B" } },
      { name: "b", type: "remote_x", shape: { kind: "optional" } },
      { name: "c", type: "char", shape: { kind: "fixed", length: 3 } },
      { name: "d", type: "unsigned char", shape: { kind: "plain" } },
    ]);
    for (const bad of [
      "struct s { int a }",
      "program p {}",
      "enum e { A = B };",
      "struct s { int a<>; };",
      "const A = ?;",
    ]) {
      expect(() => parseProtocol(bad, "bad.x")).toThrow(/bad\.x/);
    }
  });

  it("makes one table line of each structure and procedure", () => {
    const file = files(source(`${ONE} };`, API, C));
    const tables = file("protocol/remote-tables");
    expect(tables).toContain("\nDomain name:s uuid:g id:i\n");
    expect(tables).toContain("\ndomainGetXmlDesc hrp|dom:@Domain flags:u|xml:s model:T32 cookie:o16|DomainXmlFlags\n");
    expect(tables).toContain("\ndomainEventNic e|callbackId:i dom:@Domain names:?s*16\n");
  });

  it("makes types of them, with what libvirt says of their age", () => {
    const file = files(source(`${ONE} };`, API, C));
    const types = file("protocol/remote-types").replace(/\s+/g, " ");
    expect(types).toContain(
      "/** @since libvirt 0.0.3 */ readonly domainGetXmlDesc: { readonly arguments: { readonly dom: RemoteDomain; readonly flags: number; }; readonly result: { readonly xml: string; readonly model: string; readonly cookie: Uint8Array; }; };",
    );
    expect(types).toContain("export interface RemoteEvents { readonly domainEventNic: {");
    const methods = file("objects/methods").replace(/\s+/g, " ");
    expect(methods).toContain("getXmlDesc(options?: LibvirtStreamOptions & {");
    expect(methods).toContain("FlagsInput<typeof DomainXmlFlags>");
  });

  it("makes tables of enumerations, less what all names of one begin with", () => {
    const file = files(source(`${ONE} };`, API, C));
    const text = file("protocol/enums").replace(/\s+/g, " ");
    expect(text).toContain(
      "export const DomainXmlFlags = { /** @since libvirt 9.5.0 */ inactive: 1, secure: 1, } as const;",
    );
    // A name may end as the count of an enumeration's values does.
    expect(text).toContain("export const DomainPlace = { last: 1, first: 2, } as const;");
    const value = (constant: string, number: number) => ({ constant, value: number, since: undefined });
    const emit = (name: string, ...values: ReturnType<typeof value>[]): string =>
      emitEnums([{ name, cName: `vir${name}`, values }], "1.0");
    expect(emit("DomainBlockedReason", value("VIR_DOMAIN_BLOCKED_UNKNOWN", 0))).toContain("  unknown: 0,");
    expect(emit("ConnectFlags", value("VIR_CONNECT_RO", 1))).toContain("  ro: 1,");
    const codes = Array.from({ length: 20 }, (_, i) => value(`VIR_ERR_CODE_${i}`, i));
    expect(emit("ErrorNumber", ...codes, value("VIR_WAR_CODE_1", 21))).toMatch(/ {2}code0: 0,[^]*warCode1: 21/);
    expect(() => emit("X", value("VIR_A_BC", 1), value("VIR_A_Bc", 2))).toThrow(/share a name/);
  });

  it("takes the types of parameters from what drivers demand, else from the documentation", () => {
    const table = files(source(`${ONE} };`, API, C))("protocol/typed-parameters");
    expect(table).toContain("`\nu weight\nl limit\nL quota\n`");
    const parameter = { constant: "VIR_A", name: "a", type: "int" } as const;
    expect(() => parameterTable([[parameter, { constant: "VIR_B", name: "a", type: "uint" }]])).toThrow(/another/);
  });

  it("unites releases, and refuses what contradicts itself", () => {
    const older = source(`${ONE} };`, API, C);
    const added = `${ONE}, REMOTE_PROC_DOMAIN_NEW = 3 }; struct remote_domain_new_args { int a; };`;
    const file = files(older, source(added, API, C));
    expect(file("protocol/remote-tables")).toContain("\ndomainNew|a:i\n");
    expect(file("protocol/remote-types")).toContain("/** Not in libvirt 1.0. */\n  readonly domainNew:");
    expect(() => files(older, source(`${ONE.replace("cookie<", "biscuit<")} };`, API, C))).toThrow(/not the same/);
    expect(() => files(source(`${ONE}, REMOTE_PROC_DOMAIN_NEW = 5 };`, API, C))).toThrow(/where 3 was to come/);
    expect(() => files(source(`${ONE} }; struct remote_x { short a; };`, API, C))).toThrow(/short/);
  });

  it("has one rule for names", () => {
    const cases = {
      GetXMLDesc: "getXmlDesc",
      NWFilterLookupByName: "nwFilterLookupByName",
      GetIOThreadInfo: "getIoThreadInfo",
      MigratePerform3Params: "migratePerform3Params",
      xmlCPUs: "xmlCpus",
      callbackID: "callbackId",
      xml_desc: "xmlDesc",
      FSTrim: "fsTrim",
    };
    for (const [given, expected] of Object.entries(cases)) expect(camelCase(words(given))).toBe(expected);
    expect(pascalCase(protocolWords("nwfilter_binding"))).toBe("NwFilterBinding");
  });

  it("reads the XML of libvirt's scripts", () => {
    const [root, child] = readElements(
      "<?xml version='1.0'?><!-- c --><a x='1 &lt; 2'><b y=\"'\"/>t<![CDATA[<raw>]]></a>",
    );
    expect(root?.attributes.get("x")).toBe("1 < 2");
    expect(root?.children).toEqual([child]);
    expect(root?.text).toBe("t<raw>");
    expect(() => readElements("<a><b></a>")).toThrow(/closes nothing/);
    expect(() => readElements("<a>")).toThrow(/not closed/);
  });
});

const sources = LIBVIRT_RELEASES.map(({ version, release }) => ({
  version,
  folder: libvirtProtocolFolder(release, cacheDirectory()),
}));

describe.runIf(sources.every(({ folder }) => existsSync(folder)))("the generated files", () => {
  it("are what the generator makes of libvirt's sources", { timeout: 60_000 }, () => {
    const made = generate(sources);
    expect(made.size).toBe(11);
    for (const [path, content] of made) expect(readFileSync(join(ROOT, path), "utf8") === content, path).toBe(true);
  });
});
