/**
 * `/v1/cluster/members`: who the members are, and how they change. Any change is one request.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import type { NodeId } from "../../../machines/raft_types.ts";
import { readJson } from "../body.ts";
import type { GatewayPort } from "../gateway_port.ts";
import { JSON_BODY_BYTES_MAX } from "../limits.ts";
import { GatewayError } from "../problem.ts";
import { isOn, queryOf, timeoutOf, writeParameters } from "./kv_request.ts";

const PATH = "/v1/cluster/members";
const changeParameters = [...writeParameters, "dryRun", "force"];

type Fields = Readonly<Record<string, unknown>>;

/** Adds the routes. */
export function addMemberRoutes(app: Hono, port: GatewayPort): void {
  app.get(PATH, (c) => {
    queryOf(c.req.url, writeParameters);
    const { members, configIndex, outgoing, leader, term, clusterVersion } = port.status();
    return c.json({ members, configIndex, outgoing, leader, term, clusterVersion });
  });
  app.post(PATH, async (c) => {
    const body = fieldsOf(await bodyOf(c, port));
    const { add, replace } = body;
    return await change(c, port, {
      ...body,
      ...(Array.isArray(add) ? { add: add.map(newMemberOf) } : {}),
      ...(Array.isArray(replace) ? { replace: replace.map(replaceOf) } : {}),
    });
  });
  app.delete(`${PATH}/:id`, (c) => change(c, port, { remove: [idOf(c)] }));
  app.patch(`${PATH}/:id`, async (c) => {
    const addresses = fieldsOf(await bodyOf(c, port));
    if ("id" in addresses) throw invalid('Unknown field "id": the path says which member');
    return await change(c, port, { update: [{ ...addresses, id: idOf(c) }] });
  });
  app.post(`${PATH}/:id/replace`, async (c) => {
    const body = fieldsOf(await bodyOf(c, port));
    const unknown = Object.keys(body).find((name) => name !== "with");
    if (unknown !== undefined) throw invalid(`Unknown field ${JSON.stringify(unknown)}`);
    return await change(c, port, replacementOf(idOf(c), body["with"]));
  });
}

/** By another member, or by the member itself with a new disk, perhaps elsewhere. */
function replacementOf(id: NodeId, by: unknown): Fields {
  if (by === undefined) return { replace: [{ id }] };
  const { id: byId = id, ...addresses } = fieldsOf(by);
  if (byId !== id) return { replace: [{ id, by: newMemberOf({ ...addresses, id: byId }) }] };
  const isMoved = Object.keys(addresses).length > 0;
  return { replace: [{ id }], ...(isMoved ? { update: [{ ...addresses, id }] } : {}) };
}

/** The contract says `learner` of a new member that stays one. */
function newMemberOf(value: unknown): Fields {
  const { learner, ...fields } = fieldsOf(value);
  if ("staysLearner" in fields) throw invalid('Unknown field "staysLearner"; it is "learner"');
  if (learner === undefined) return fields;
  if (typeof learner !== "boolean") throw invalid("learner is true or false");
  return { ...fields, staysLearner: learner };
}

function replaceOf(value: unknown): Fields {
  const { by, ...fields } = fieldsOf(value);
  return by === undefined ? fields : { ...fields, by: newMemberOf(by) };
}

async function change(c: Context, port: GatewayPort, plain: Fields): Promise<Response> {
  const query = queryOf(c.req.url, changeParameters);
  const options = {
    dryRun: isOn(query, "dryRun"),
    force: isOn(query, "force"),
    timeoutMs: timeoutOf(c),
  };
  return c.json(await port.changeMembers(plain, options));
}

/** The JSON of the body; an empty one is an empty object. */
function bodyOf(c: Context, port: GatewayPort): Promise<unknown> {
  return readJson(c.req.raw, JSON_BODY_BYTES_MAX, port, {});
}

function fieldsOf(value: unknown): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw invalid("Send a JSON object");
}

function idOf(c: Context): NodeId {
  const text = c.req.param("id") ?? "";
  if (/^\d+$/.test(text)) return Number(text);
  throw invalid("A member's id is a whole number from 1 to 2^31");
}

function invalid(detail: string): GatewayError {
  return new GatewayError("invalid-request", detail);
}
