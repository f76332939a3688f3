/**
 * Requests and answers against the OpenAPI document.
 *
 * @module
 */
import { assert } from "@std/assert";
import { Ajv2020 } from "ajv/2020";
import { openApiDocument } from "../../transport/http/openapi/document.ts";
import type { Send } from "./http_cases.ts";

interface Described {
  readonly description: string;
  readonly content?: Readonly<Record<string, { readonly schema?: unknown }>>;
}

/** An operation of the document. */
export interface DocumentOperation {
  readonly parameters: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: { readonly content: Described["content"] };
  readonly responses: Readonly<Record<string, Described & { readonly $ref?: string }>>;
}

/** The document as it is served. */
export const document = JSON.parse(JSON.stringify(openApiDocument("1.2.3"))) as {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentOperation>>>>;
  readonly components: { readonly schemas: unknown };
};

const ajv = new Ajv2020({ strict: false, allErrors: false });
ajv.addSchema({ $id: "document", components: document.components });
const validators = new Map<string, ReturnType<typeof ajv.compile>>();

/** Why the value is not what the schema says; undefined if it is. */
export function mismatch(schema: unknown, value: unknown): string | undefined {
  const text = JSON.stringify(schema).replaceAll('"#/', '"document#/');
  let validate = validators.get(text);
  if (validate === undefined) validators.set(text, validate = ajv.compile(JSON.parse(text)));
  return validate(value) ? undefined : ajv.errorsText(validate.errors);
}

/** The path of the document that a request is for; undefined if there is none. */
export function pathOf(path: string, method: string): string | undefined {
  const { pathname } = new URL(path.replace(/^\/\//, "/"), "http://x");
  // The last one that matches is the most special, but for the verbs of a key.
  const found = Object.keys(document.paths).filter((template) => {
    const pattern = template.replaceAll("{id}", "[^/]+").replaceAll(/\{(key|name)\}/g, ".+");
    return document.paths[template]![method] !== undefined &&
      new RegExp(`^${pattern}$`, "s").test(pathname);
  });
  return found.sort((one, other) => one.length - other.length).at(-1);
}

/** How often each operation answered with each status. */
export const seen = new Map<string, number>();

/** Sends as `send` does, and asserts that the answer is one that the document has. */
export function checked(send: Send): Send {
  return async (path, init) => {
    const response = await send(path, init);
    const method = (init?.method ?? "GET").toLowerCase();
    const asked = method === "head" ? "get" : method;
    const template = pathOf(path, asked);
    const operation = document.paths[template ?? ""]?.[asked];
    if (operation === undefined) {
      assert([400, 404, 405].includes(response.status), `${method} ${path}: ${response.status}`);
      return response;
    }
    const where = `${method.toUpperCase()} ${template} ${response.status}`;
    seen.set(where, (seen.get(where) ?? 0) + 1);
    return await checkedAnswer(response, { operation, where, isHead: method === "head" });
  };
}

async function checkedAnswer(
  response: Response,
  { operation, where, isHead }: {
    readonly operation: DocumentOperation;
    readonly where: string;
    readonly isHead: boolean;
  },
): Promise<Response> {
  const { status, headers } = response;
  const described = operation.responses[status] ??
    operation.responses[`${String(status)[0]}XX`];
  assert(described !== undefined, `${where} is not in the document`);
  if (isHead || response.body === null) return response;
  const problem = {
    "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
  };
  const content: NonNullable<Described["content"]> = described.$ref === undefined
    ? described.content ?? {}
    : problem;
  const type = headers.get("content-type")?.split(";")[0] ?? "";
  // A value has the content type that it was stored with.
  const isValue = "application/octet-stream" in content && status === 200;
  if (isValue) return response;
  const found = content[type];
  assert(found !== undefined, `${where} has ${type}, which is not in the document`);
  if (type === "text/event-stream") return response;
  const text = await response.text();
  const values = type === "application/x-ndjson"
    ? text.trimEnd().split("\n").map((line) => JSON.parse(line))
    : type.endsWith("json")
    ? [JSON.parse(text)]
    : [];
  for (const value of values) {
    const why = mismatch(found.schema, value);
    assert(why === undefined, `${where}: ${why}\n${JSON.stringify(value).slice(0, 500)}`);
  }
  return new Response(text, { status, headers });
}
