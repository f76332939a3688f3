/**
 * `deno task docs:http`: writes HTTP.md, the reference of the HTTP interface, from the OpenAPI document that
 * the nodes serve.
 *
 * @module
 */
import { openApiDocument, VERSION } from "../mod.ts";

interface Parameter {
  readonly name: string;
  readonly in: "query" | "header" | "path";
  readonly description: string;
  readonly schema: Schema;
}

type Schema = Readonly<Record<string, unknown>>;

interface Described {
  readonly description?: string;
  readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>;
}

interface Operation {
  readonly summary: string;
  readonly tags: readonly string[];
  readonly parameters: readonly Parameter[];
  readonly requestBody?: Described & { readonly required: boolean };
  readonly responses: Readonly<Record<string, Described>>;
}

interface Document {
  readonly info: { readonly description: string };
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<
    Record<string, Readonly<Record<string, Operation>> & { readonly parameters?: Parameter[] }>
  >;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

/** The reference as Markdown. */
export function httpReference(): string {
  const document = JSON.parse(JSON.stringify(openApiDocument(VERSION))) as Document;
  const sections = document.tags.map(({ name }) => section(document, name));
  const schemas = Object.entries(document.components.schemas).map(([name, schema]) =>
    `### ${name}\n\n${describe(schema)}\n`
  );
  return [
    "# The HTTP interface\n",
    "Made by `deno task docs:http` from the OpenAPI document that every node serves at",
    "`/openapi.json`; a test compares. README.md tells what it is like to use it.\n",
    `${document.info.description}\n`,
    ...sections,
    "## What is in JSON\n",
    ...schemas,
  ].join("\n");
}

function section({ paths }: Document, tag: string): string {
  const parts = [`## ${tag[0]!.toUpperCase()}${tag.slice(1)}\n`];
  for (const [path, { parameters: _, ...operations }] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      if (!operation.tags.includes(tag)) continue;
      parts.push(`### ${method.toUpperCase()} ${path}\n`, `${operation.summary}.\n`);
      const takes = operation.parameters.filter((parameter) => parameter.in !== "path");
      if (takes.length > 0) parts.push(table(takes));
      const body = operation.requestBody;
      if (body !== undefined) {
        parts.push(`Body${body.required ? "" : ", which may be left out"}: ${contentOf(body)}.\n`);
      }
      parts.push(answers(operation.responses));
    }
  }
  return parts.join("\n");
}

function table(parameters: readonly Parameter[]): string {
  const rows = parameters.map(({ name, in: where, description, schema }) =>
    `| ${where === "header" ? `\`${name}:\`` : `\`${name}=\``} | ${cell(typeOf(schema))} | ${
      cell(description)
    } |`
  );
  return ["| | type | |", "| --- | --- | --- |", ...rows, ""].join("\n");
}

function answers(responses: Operation["responses"]): string {
  const rows = Object.entries(responses).filter(([status]) => !status.endsWith("XX")).map((
    [status, response],
  ) => {
    const isProblem = response.content?.["application/problem+json"] !== undefined;
    const what = isProblem || response.content === undefined
      ? response.description ?? ""
      : contentOf(response);
    return `- ${status}: ${what}`;
  });
  return `${rows.join("\n")}\n`;
}

function contentOf({ content = {} }: Described): string {
  return Object.entries(content).map(([type, { schema }]) => {
    const shown = schema === undefined || Object.keys(schema).length === 0 ? "" : typeOf(schema);
    return `\`${type}\`${shown === "" || shown === "string" ? "" : ` ${shown}`}`;
  }).join(" or ");
}

/** A schema in a few words; a link if it has a name. */
function typeOf(schema: Schema): string {
  const { $ref, type, items, anyOf, oneOf, minimum, maximum, default: byDefault } = schema;
  const choices = schema["enum"] as readonly unknown[] | undefined;
  if (typeof $ref === "string") {
    const name = $ref.split("/").at(-1)!;
    return `[${name}](#${name.toLowerCase()})`;
  }
  const variants = (anyOf ?? oneOf) as readonly Schema[] | undefined;
  if (variants !== undefined) return variants.map(typeOf).join(" or ");
  if (choices !== undefined) {
    const rest = byDefault === undefined ? "" : ` (default \`${byDefault}\`)`;
    return choices.map((choice) => `\`${choice}\``).join(", ") + rest;
  }
  if (schema["const"] !== undefined) return `\`${JSON.stringify(schema["const"])}\``;
  if (type === "array") return `list of ${typeOf(items as Schema)}`;
  if (type === "object") return fieldsOf(schema);
  const least = minimum === undefined ? "" : ` from ${minimum}`;
  const most = maximum === undefined ? "" : ` to ${maximum}`;
  return `${type ?? "any value"}${least}${most}`;
}

function fieldsOf({ properties = {}, required = [] }: Schema): string {
  const fields = Object.entries(properties as Readonly<Record<string, Schema>>);
  if (fields.length === 0) return "object";
  const names = fields.map(([name, schema]) => {
    const isOptional = !(required as readonly string[]).includes(name);
    return `\`${name}\`${isOptional ? "?" : ""}: ${typeOf(schema)}`;
  });
  return `{ ${names.join("; ")} }`;
}

/** A schema with its fields, a line each. */
function describe(schema: Schema): string {
  const description = typeof schema["description"] === "string"
    ? `${schema["description"]}.\n\n`
    : "";
  const { properties, required = [] } = schema;
  if (properties === undefined) return `${description}${typeOf(schema)}`;
  const lines = Object.entries(properties as Readonly<Record<string, Schema>>).map(
    ([name, field]) => {
      const isOptional = !(required as readonly string[]).includes(name);
      const said = typeof field["description"] === "string" ? `: ${field["description"]}` : "";
      return `- \`${name}\`${isOptional ? ", optional" : ""}: ${typeOf(field)}${said}`;
    },
  );
  return `${description}${lines.join("\n")}`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

if (import.meta.main) {
  const path = new URL("../HTTP.md", import.meta.url);
  Deno.writeTextFileSync(path, httpReference());
  // As the formatter has it, which the gate checks.
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", path.pathname],
  }).output();
  Deno.exit(success ? 0 : 1);
}
