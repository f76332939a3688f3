/**
 * The JSON of the HTTP interface, as JSON Schema (the dialect of OpenAPI 3.1).
 *
 * Each answer of the test suite is checked against these (tests/transport/openapi_test.ts).
 *
 * @module
 */
import {
  COMPARES_MAX,
  CONTENT_TYPE_CHARS_MAX,
  LEASE_TTL_MS_MAX,
  LEASE_TTL_MS_MIN,
  OPERATIONS_MAX,
  RANGE_LIMIT_MAX,
} from "../../../storage/kv/limits.ts";
import { problemCodes } from "../problem.ts";

/** A schema, as plain JSON. */
export type Schema = { readonly [name: string]: unknown };

const text = { type: "string" } as const;
const flag = { type: "boolean" } as const;
const count = { type: "integer", minimum: 0 } as const;
const node = { type: "integer", minimum: 1, maximum: 2 ** 31 } as const;
const nodes = { type: "array", items: node } as const;
/** An id that may be any integer up to 2^53-1 is text. */
const leaseId = { type: "string", pattern: "^[1-9][0-9]*$" } as const;
const revision = { ...count, description: "Revision of the store" } as const;
const bytes = ref("Bytes");

/** A reference to one of {@linkcode schemas}. */
export function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

/** An object of which nothing else is known; those with `?` at the end of their name may be absent. */
export function object(fields: Readonly<Record<string, Schema>>): Schema {
  const names = Object.keys(fields);
  const required = names.filter((name) => !name.endsWith("?"));
  return {
    type: "object",
    properties: Object.fromEntries(names.map((name) => [name.replace(/\?$/, ""), fields[name]])),
    ...(required.length === 0 ? {} : { required }),
    additionalProperties: false,
  };
}

function list(items: Schema, maxItems?: number): Schema {
  return { type: "array", items, ...(maxItems === undefined ? {} : { maxItems }) };
}

function oneOf(...variants: readonly Schema[]): Schema {
  return { oneOf: variants };
}

const entryFacts = { revision, created: count, version: count, "lease?": leaseId };
const bounds = { "prefix?": bytes, "start?": bytes, "end?": bytes };
const ttlSeconds = {
  type: "number",
  minimum: LEASE_TTL_MS_MIN / 1000,
  maximum: LEASE_TTL_MS_MAX / 1000,
};
const by = {
  ...oneOf({ type: "integer" }, { type: "string", pattern: "^-?[0-9]+$" }),
  description: "64 bits, as text where a number of JSON cannot hold it; default 1",
};
const quorum = object({ voters: nodes, needed: count, alive: nodes });
const address = { "raft?": text, "http?": text };
const newMember = object({ id: node, raft: text, "http?": text, "learner?": flag });

function compareOf(target: string, operand: Schema): Schema {
  return object({
    key: bytes,
    target: { const: target },
    op: { enum: ["==", "!=", "<", ">"] },
    [target]: operand,
  });
}

/** All of them, by name. */
export const schemas: Readonly<Record<string, Schema>> = {
  Bytes: {
    ...oneOf(text, object({ base64: { type: "string", contentEncoding: "base64" } })),
    description:
      "Text, or base64 for what is no UTF-8; with ?encoding=base64 always a base64 string",
  },
  Problem: {
    ...object({
      type: { type: "string", pattern: "^urn:statecraft:problem:" },
      title: text,
      status: { type: "integer", minimum: 400, maximum: 599 },
      detail: text,
      code: { enum: problemCodes },
      retryable: { ...flag, description: "Whether the same request may succeed later" },
      outcome: {
        enum: ["not-applied", "unknown"],
        description: "What became of a write: it surely had no effect, or nobody knows",
      },
      "leader?": node,
      "revision?": {
        ...count,
        description: "precondition-failed: what is there; compacted: the first that is kept",
      },
    }),
    description: "RFC 9457",
  },
  Written: object({ revision, version: count, "lease?": leaseId }),
  Deleted: object({ deleted: count, revision }),
  Appended: object({ revision, version: count, length: count }),
  Incremented: object({
    value: { type: "string", pattern: "^-?[0-9]+$" },
    revision,
    version: count,
  }),
  Item: object({ key: bytes, "value?": bytes, "contentType?": text, ...entryFacts }),
  Page: object({ items: list(ref("Item")), "next?": text, revision }),
  Count: object({ count, revision }),
  ScanLine: oneOf(
    ref("Item"),
    object({ end: { const: true }, count, revision }),
  ),
  Increment: object({ "by?": by }),
  Compare: oneOf(
    compareOf("value", bytes),
    compareOf("version", count),
    compareOf("created", count),
    compareOf("revision", count),
    compareOf("lease", oneOf(leaseId, count)),
  ),
  Operation: oneOf(
    object({
      put: object({
        key: bytes,
        value: bytes,
        "contentType?": { type: "string", minLength: 1, maxLength: CONTENT_TYPE_CHARS_MAX },
        "lease?": oneOf(leaseId, node),
      }),
    }),
    object({ append: object({ key: bytes, value: bytes }) }),
    object({ get: object({ key: bytes }) }),
    object({ delete: oneOf(object({ key: bytes }), object({ ...bounds, "all?": flag })) }),
    object({
      range: object({
        ...bounds,
        "limit?": { type: "integer", minimum: 1, maximum: RANGE_LIMIT_MAX },
        "reverse?": flag,
        "keys_only?": flag,
        "count_only?": flag,
      }),
    }),
    object({ increment: object({ key: bytes, "by?": by }) }),
  ),
  Transaction: {
    ...object({
      "compare?": list(ref("Compare"), COMPARES_MAX),
      "success?": list(ref("Operation"), OPERATIONS_MAX),
      "failure?": list(ref("Operation"), OPERATIONS_MAX),
    }),
    description: "If all compares hold, success is executed, else failure: whole or not at all",
  },
  OperationResult: oneOf(
    object({ put: object({ version: count, created: flag, "lease?": leaseId }) }),
    object({ append: object({ version: count, length: count, created: flag }) }),
    object({ get: oneOf({ type: "null" }, ref("Item")) }),
    object({ delete: object({ deleted: count }) }),
    object({ range: object({ items: list(ref("Item")), count }) }),
    object({ increment: object({ value: text, version: count, created: flag }) }),
  ),
  TransactionResult: object({
    succeeded: flag,
    revision,
    results: list(ref("OperationResult"), OPERATIONS_MAX),
  }),
  Event: {
    ...object({
      "type?": { enum: ["put", "delete"] },
      key: bytes,
      "value?": bytes,
      "contentType?": text,
      revision,
      "created?": count,
      "version?": count,
      "lease?": leaseId,
      "prev?": object({ value: bytes, ...entryFacts }),
    }),
    description: "A change. In a stream the type is the event's name",
  },
  Poll: object({ events: list(ref("Event")), from: revision }),
  LeaseGrant: object({ ttlSeconds }),
  Lease: object({
    id: leaseId,
    ttlSeconds: { type: "number" },
    remainingSeconds: { type: "number", minimum: 0 },
    "keys?": list(bytes),
  }),
  Leases: object({ leases: list(ref("Lease")), "next?": text, revision }),
  LockRequest: {
    ...object({
      "ttlSeconds?": ttlSeconds,
      "lease?": oneOf(leaseId, node),
      "wait?": { type: "string", pattern: "^[0-9]+(ms|s|m|h|d)$" },
      "value?": bytes,
    }),
    description: "ttlSeconds, for a lease of its own, or a lease that is there",
  },
  Lock: object({ lease: leaseId, fencingToken: count, key: bytes }),
  LockState: object({
    "holder?": object({ lease: leaseId, fencingToken: count, key: bytes, "value?": bytes }),
    waiting: count,
    revision,
  }),
  Released: object({ released: { const: true }, revision }),
  Member: object({
    id: node,
    voter: flag,
    "staysLearner?": { const: true },
    "replaces?": node,
    raftAddress: text,
    httpAddress: text,
    self: flag,
    link: { enum: ["self", "connected", "down"] },
    "matchIndex?": count,
    "lastHeardMs?": { type: "number" },
    "clusterVersionMax?": count,
    "refusal?": text,
  }),
  Cluster: object({
    clusterId: text,
    clusterVersion: count,
    nodeId: node,
    group: count,
    role: text,
    term: count,
    "leader?": node,
    commitIndex: count,
    appliedIndex: count,
    lastLogIndex: count,
    revision,
    stateHash: text,
    members: list(ref("Member")),
    configIndex: count,
    "outgoing?": nodes,
  }),
  Members: object({
    members: list(ref("Member")),
    configIndex: count,
    "outgoing?": nodes,
    "leader?": node,
    term: count,
    clusterVersion: count,
  }),
  NewMember: newMember,
  MembersChange: {
    ...object({
      "add?": list(newMember),
      "remove?": nodes,
      "promote?": nodes,
      "demote?": nodes,
      "replace?": list(object({ id: node, "by?": newMember })),
      "update?": list(object({ id: node, ...address })),
    }),
    description: "One step, however many members. A directory that was removed does not come back",
  },
  MemberAddress: object(address),
  Replacement: object({ "with?": object({ "id?": node, ...address, "learner?": flag }) }),
  MembersChanged: object({
    applied: flag,
    "objection?": text,
    before: quorum,
    "between?": list(quorum),
    after: quorum,
    behind: list(object({ id: node, entries: count })),
    "inUse?": nodes,
    "unmet?": nodes,
  }),
  Transfer: object({ to: node }),
  Transferred: object({ leader: node, term: count }),
  Snapshot: object({
    nodeId: node,
    index: count,
    term: count,
    bytes: count,
    stateHash: text,
    isNew: flag,
  }),
  Explanation: {
    type: "object",
    required: ["states", "summary", "causes", "possibilities"],
    properties: {
      states: list(text),
      summary: text,
      causes: list({ type: "object" }),
      possibilities: list({ type: "object" }),
    },
  },
  Chart: {
    type: "object",
    required: ["id", "states", "transitions", "active", "mermaid"],
    properties: {
      id: text,
      states: list({ type: "object" }),
      transitions: list({ type: "object" }),
      active: list(text),
      mermaid: text,
    },
  },
  Version: object({ version: text, api: { const: "v1" }, deno: text }),
};
