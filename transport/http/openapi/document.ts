/**
 * `/openapi.json`: the HTTP interface as an OpenAPI 3.1 document.
 *
 * It is written beside the routes, and not made from schemas that read the requests: those who read them say
 * in a sentence what is wrong, which a schema cannot. A test sends every case of the suite through it, so that
 * no request, answer, parameter or route is other than it says (tests/transport/openapi_test.ts).
 *
 * @module
 */
import {
  deleteParameters,
  eventsParameters,
  itemParameters,
  leaseParameters,
  leasesParameters,
  listParameters,
  putParameters,
  valueParameters,
  watchParameters,
  writeParameters,
} from "../routes/kv_request.ts";
import { ref, type Schema, schemas } from "./schemas.ts";

type Json = { readonly [name: string]: unknown };

const RAW = "application/octet-stream";
const JSON_TYPE = "application/json";
const TEXT = "text/plain";

/** What the query parameters mean, by name. */
const parameters: Readonly<
  Record<string, { readonly description: string; readonly schema: Schema }>
> = {
  redirect: {
    description: "Answer 307 to the leader instead of forwarding to it",
    schema: { type: "boolean" },
  },
  consistency: {
    description: "How fresh the read must be",
    schema: { enum: ["linearizable", "lease", "follower", "stale"], default: "linearizable" },
  },
  min_revision: {
    description: "Wait until the store has come to this revision",
    schema: { type: "integer", minimum: 0 },
  },
  meta: {
    description: "Also answer with Statecraft-Created, -Version, -Served-By, -Leader and -Term",
    schema: { type: "boolean" },
  },
  encoding: { description: "Keys and values as base64 strings", schema: { enum: ["base64"] } },
  key: { description: "A key, percent-encoded", schema: { type: "string" } },
  prefix: { description: "Keys that begin with this", schema: { type: "string" } },
  start: { description: "From this key on", schema: { type: "string" } },
  end: { description: "Up to this key, which is not among them", schema: { type: "string" } },
  limit: { description: "Most entries", schema: { type: "integer", minimum: 1 } },
  cursor: { description: "Where the last page ended: its `next`", schema: { type: "string" } },
  reverse: { description: "In descending order", schema: { type: "boolean" } },
  keys_only: { description: "Without values", schema: { type: "boolean" } },
  count_only: { description: "Only how many there are", schema: { type: "boolean" } },
  ttl: {
    description: "How long the key lasts, such as 30s, 5m, 2h or 1d",
    schema: { type: "string", pattern: "^[0-9]+(ms|s|m|h|d)$" },
  },
  lease: { description: "A lease's id", schema: { type: "string", pattern: "^[1-9][0-9]*$" } },
  all: { description: "Every key", schema: { type: "boolean" } },
  from: { description: "From this revision on; default what is new", schema: { type: "integer" } },
  prev: { description: "With what was stored before", schema: { type: "boolean" } },
  wait: {
    description: "Answer with JSON once there is news, or after this time",
    schema: { type: "string", pattern: "^[0-9]+(ms|s|m|h|d)$" },
  },
  after: { description: "Leases with higher ids", schema: { type: "integer" } },
  dryRun: { description: "Only say what it would do", schema: { type: "boolean" } },
  force: { description: "Also if too few of the voters answer", schema: { type: "boolean" } },
  format: { description: "The chart as Mermaid text", schema: { enum: ["mermaid"] } },
  verbose: { description: "A line for each check", schema: { type: "string" } },
};

const headers: Readonly<Record<string, { readonly description: string; readonly schema: Schema }>> =
  {
    "If-Match": {
      description: "Only if the key is at this revision, or * if it is there",
      schema: { type: "string" },
    },
    "If-None-Match": {
      description: "* for a write: only if there is no such key",
      schema: { type: "string" },
    },
    "Idempotency-Key": {
      description:
        "1 to 64 printable characters: a repeat of the same request gets the first answer",
      schema: { type: "string", maxLength: 66 },
    },
    "Last-Event-ID": {
      description: "The last id that was seen: goes on after it",
      schema: { type: "string" },
    },
  };

const conditions = ["If-Match", "If-None-Match"];
const writeHeaders = [...conditions, "Idempotency-Key"];

interface Operation {
  readonly summary: string;
  readonly tag: string;
  /** Names of query parameters that it takes. */
  readonly query?: readonly string[];
  readonly headers?: readonly string[];
  /** The request's body: a schema's name, or "raw". */
  readonly body?: string;
  /** Whether the body may be left out. */
  readonly isBodyOptional?: true;
  /** What success answers with: the status, then content types and the schemas of their JSON. */
  readonly answers: Readonly<Record<number, Readonly<Record<string, Schema>>>>;
  /** What stands in the answers' place otherwise, by status, besides what any request may get. */
  readonly problems?: Readonly<Record<number, string>>;
}

function json(name: string): Readonly<Record<string, Schema>> {
  return { [JSON_TYPE]: ref(name) };
}

const raw = { [RAW]: {} };
const text = { [TEXT]: { type: "string" } };
const noLease = { 404: "lease-not-found" };
const stored = { 200: json("Written"), 201: json("Written") };
const changed = { 412: "precondition-failed" };
const memberParameters = [...writeParameters, "dryRun", "force"];
const membersChanged = {
  tag: "cluster",
  query: memberParameters,
  answers: { 200: json("MembersChanged") },
  problems: { 409: "conflict: it makes no sense for these members, or too few voters answer" },
};

const putValue: Operation = {
  summary: "Store a value",
  tag: "keys",
  query: putParameters,
  headers: writeHeaders,
  body: "raw",
  answers: stored,
  problems: { ...changed, ...noLease },
};
const deleteKey: Operation = {
  summary: "Delete a key",
  tag: "keys",
  query: writeParameters,
  headers: writeHeaders,
  answers: { 200: json("Deleted") },
  problems: changed,
};

/** Every route: path, then method. */
const paths: Readonly<Record<string, Readonly<Record<string, Operation>>>> = {
  "/v1/kv": {
    get: {
      summary: "List keys, or read the one that ?key= names",
      tag: "keys",
      query: [...new Set([...listParameters, ...itemParameters])],
      headers: conditions,
      answers: {
        200: {
          [JSON_TYPE]: { anyOf: [ref("Page"), ref("Count"), ref("Item")] },
          "application/x-ndjson": ref("ScanLine"),
        },
        304: {},
      },
      problems: { 404: "key-not-found", ...changed },
    },
    put: { ...putValue, query: [...putParameters, "key"] },
    delete: {
      ...deleteKey,
      summary: "Delete the keys of a range, or the one that ?key= names",
      query: [...new Set([...deleteParameters, "key"])],
    },
  },
  "/v1/kv/{key}": {
    get: {
      summary: "Read a value",
      tag: "keys",
      query: valueParameters,
      headers: conditions,
      answers: { 200: raw, 304: {} },
      problems: { 404: "key-not-found", ...changed },
    },
    put: putValue,
    delete: deleteKey,
  },
  "/v1/kv/{key}/append": {
    post: {
      summary: "Add to the end of a value",
      tag: "keys",
      query: writeParameters,
      headers: writeHeaders,
      body: "raw",
      answers: { 200: json("Appended") },
      problems: changed,
    },
  },
  "/v1/kv/{key}/increment": {
    post: {
      summary: "Add to the number that a value is the text of",
      tag: "keys",
      query: writeParameters,
      headers: writeHeaders,
      body: "Increment",
      isBodyOptional: true,
      answers: { 200: json("Incremented") },
      problems: { ...changed, 409: "conflict: no 64-bit integer, or an overflow" },
    },
  },
  "/v1/txn": {
    post: {
      summary: "Execute a transaction",
      tag: "keys",
      query: [...writeParameters, "encoding"],
      headers: ["Idempotency-Key"],
      body: "Transaction",
      answers: { 200: json("TransactionResult") },
      problems: { 409: "conflict: no 64-bit integer, or an overflow", ...noLease },
    },
  },
  "/v1/watch": {
    get: {
      summary: "Changes as they happen",
      tag: "watches",
      query: watchParameters,
      headers: ["Last-Event-ID"],
      answers: { 200: { "text/event-stream": { type: "string" }, ...json("Poll") } },
      problems: { 410: "compacted" },
    },
  },
  "/v1/leases": {
    get: {
      summary: "All leases",
      tag: "leases",
      query: leasesParameters,
      answers: { 200: json("Leases") },
    },
    post: {
      summary: "Grant a lease",
      tag: "leases",
      query: writeParameters,
      headers: ["Idempotency-Key"],
      body: "LeaseGrant",
      answers: { 200: json("Lease") },
    },
  },
  "/v1/leases/{id}": {
    get: {
      summary: "What a lease has left, and its keys",
      tag: "leases",
      query: leaseParameters,
      answers: { 200: json("Lease") },
      problems: noLease,
    },
    delete: {
      summary: "End a lease, and delete its keys",
      tag: "leases",
      query: writeParameters,
      headers: ["Idempotency-Key"],
      answers: { 200: json("Deleted") },
      problems: noLease,
    },
  },
  "/v1/leases/{id}/keepalive": {
    post: {
      summary: "Give a lease all its time again",
      tag: "leases",
      query: writeParameters,
      headers: ["Idempotency-Key"],
      answers: { 200: json("Lease") },
      problems: noLease,
    },
  },
  "/v1/locks/{name}": {
    get: {
      summary: "Who holds a lock",
      tag: "locks",
      query: leaseParameters,
      answers: { 200: json("LockState") },
    },
    post: {
      summary: "Take a lock once it is free",
      tag: "locks",
      query: writeParameters,
      headers: ["Idempotency-Key"],
      body: "LockRequest",
      answers: { 200: json("Lock") },
      problems: { 409: "lock-held", ...noLease },
    },
    delete: {
      summary: "Give a lock, or a place in its queue, up",
      tag: "locks",
      query: [...writeParameters, "lease"],
      answers: { 200: json("Released") },
      problems: noLease,
    },
  },
  "/v1/backup": {
    get: {
      summary: "The whole state at one moment, as a file",
      tag: "operations",
      query: writeParameters,
      answers: { 200: raw },
    },
  },
  "/v1/snapshot": {
    post: {
      summary: "Let this node take a snapshot, so that its log can be cut",
      tag: "operations",
      query: writeParameters,
      answers: { 200: json("Snapshot") },
    },
  },
  "/v1/cluster": {
    get: { summary: "Members and leader", tag: "cluster", answers: { 200: json("Cluster") } },
  },
  "/v1/cluster/transfer": {
    post: {
      summary: "Hand leadership to a voter",
      tag: "cluster",
      body: "Transfer",
      answers: { 200: json("Transferred") },
      problems: { 409: "conflict" },
    },
  },
  "/v1/cluster/members": {
    get: {
      summary: "Who the members are",
      tag: "cluster",
      query: writeParameters,
      answers: { 200: json("Members") },
    },
    post: {
      ...membersChanged,
      summary: "Change the members, however many, in one step",
      body: "MembersChange",
      isBodyOptional: true,
    },
  },
  "/v1/cluster/members/{id}": {
    delete: { ...membersChanged, summary: "Take a member out" },
    patch: {
      ...membersChanged,
      summary: "A member is somewhere else now",
      body: "MemberAddress",
      isBodyOptional: true,
    },
  },
  "/v1/cluster/members/{id}/replace": {
    post: {
      ...membersChanged,
      summary:
        "A member's disk is lost: let it come back with an empty one, or another take its place",
      body: "Replacement",
      isBodyOptional: true,
    },
  },
  "/v1/raft/explain": {
    get: {
      summary: "Why this node is in its role",
      tag: "operations",
      answers: { 200: { ...json("Explanation"), ...text } },
    },
  },
  "/v1/raft/chart": {
    get: {
      summary: "The chart, with its live state",
      tag: "operations",
      query: ["format"],
      answers: { 200: { ...json("Chart"), ...text } },
    },
  },
  "/v1/raft/events": {
    get: {
      summary: "The chart's transitions as they happen, after those that are kept",
      tag: "operations",
      query: eventsParameters,
      headers: ["Last-Event-ID"],
      answers: { 200: { "text/event-stream": { type: "string" } } },
    },
  },
  "/": page("A page for people, with the chart as it runs", "text/html"),
  "/ui": page("As /", "text/html"),
  "/ui/page.css": page("What the page looks like", "text/css"),
  "/ui/page.js": page("The page's live part", "text/javascript"),
  "/livez": health("Whether the process works"),
  "/readyz": health("Whether requests should be sent here"),
  "/healthz": health("As /readyz"),
  "/metrics": {
    get: { summary: "Metrics for Prometheus", tag: "operations", answers: { 200: text } },
  },
  "/version": {
    get: { summary: "Which build this is", tag: "operations", answers: { 200: json("Version") } },
  },
  "/openapi.json": {
    get: {
      summary: "This document",
      tag: "operations",
      answers: { 200: { [JSON_TYPE]: { type: "object" } } },
    },
  },
};

function health(summary: string): Readonly<Record<string, Operation>> {
  return {
    get: { summary, tag: "operations", query: ["verbose"], answers: { 200: text, 503: text } },
  };
}

function page(summary: string, type: string): Readonly<Record<string, Operation>> {
  return { get: { summary, tag: "operations", answers: { 200: { [type]: { type: "string" } } } } };
}

/** The document, for a build of this version. */
export function openApiDocument(version: string): { readonly [name: string]: unknown } {
  return {
    openapi: "3.1.0",
    info: {
      title: "Statecraft",
      version,
      summary: "A replicated key-value store",
      description:
        "Any node answers any request. An error is a problem document (RFC 9457), which says what " +
        "became of a write. GET can be asked with HEAD.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: ["keys", "watches", "leases", "locks", "cluster", "operations"].map((name) => ({ name })),
    paths: Object.fromEntries(
      Object.entries(paths).map(([path, operations]) => [
        path,
        {
          ...(path.includes("{") ? { parameters: pathParameters(path) } : {}),
          ...Object.fromEntries(
            Object.entries(operations).map(([method, operation]) => [
              method,
              operationOf(method, path, operation),
            ]),
          ),
        },
      ]),
    ),
    components: {
      schemas,
      responses: {
        Problem: {
          description: "Why it was not done, and what became of it",
          content: { "application/problem+json": { schema: ref("Problem") } },
        },
      },
    },
  };
}

function pathParameters(path: string): Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    description: {
      key: "The rest of the path, percent-decoded: any 1 to 1024 bytes; slashes need no encoding",
      name: "The rest of the path, percent-decoded: any 1 to 256 bytes; slashes need no encoding",
      id: "The id",
    }[name!],
    schema: { type: "string" },
  }));
}

function operationOf(method: string, path: string, operation: Operation): Json {
  const { summary, tag, query = [], headers: named = [], body, answers, problems = {} } = operation;
  const isOptional = operation.isBodyOptional === true;
  const isV1 = path.startsWith("/v1/");
  return {
    operationId: operationId(method, path),
    summary,
    tags: [tag],
    parameters: [
      ...query.map((name) => ({ name, in: "query", ...parameters[name] })),
      ...named.map((name) => ({ name, in: "header", ...headers[name] })),
    ],
    ...(body === undefined ? {} : {
      requestBody: {
        required: !isOptional && body !== "raw",
        content: body === "raw" ? { "*/*": {} } : { [JSON_TYPE]: { schema: ref(body) } },
      },
    }),
    responses: {
      ...Object.fromEntries(
        Object.entries(answers).map(([status, types]) => [
          status,
          {
            description: status === "304" ? "It is what If-None-Match names" : "Done",
            ...(Object.keys(types).length === 0 ? {} : {
              content: Object.fromEntries(
                Object.entries(types).map(([type, schema]) => [type, { schema }]),
              ),
            }),
          },
        ]),
      ),
      ...(isV1
        ? { 307: { description: "With redirect=true: the leader's address, in Location" } }
        : {}),
      ...Object.fromEntries(
        Object.entries(problems).map(([status, description]) => [
          status,
          { description, content: { "application/problem+json": { schema: ref("Problem") } } },
        ]),
      ),
      "4XX": { $ref: "#/components/responses/Problem" },
      "5XX": { $ref: "#/components/responses/Problem" },
    },
  };
}

/** Such as `getLeasesId`. */
function operationId(method: string, path: string): string {
  const words = path.replace(/^\/v1/, "").split(/[^A-Za-z]+/).filter((word) => word !== "");
  return method + words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join("");
}
