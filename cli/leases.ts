/**
 * `deno task kv lease`: grant, keep alive, look at, list and revoke leases.
 *
 * @module
 */
import type { ClientRequest } from "./http_client.ts";
import { durationOf } from "./settings.ts";
import { checkWords, UsageError } from "./usage.ts";

type Send = (request: ClientRequest) => Promise<Response>;
type Verb = (word: string, send: Send) => Promise<Response>;

const PATH = "/v1/leases";

const verbs: Readonly<Record<string, { readonly words: readonly [number, number]; run: Verb }>> = {
  grant: {
    words: [1, 1],
    run: (duration, send) => {
      const ttlSeconds = durationOf("lease grant", duration) / 1000;
      const headers = { "content-type": "application/json" };
      return send({ method: "POST", path: PATH, headers, body: JSON.stringify({ ttlSeconds }) });
    },
  },
  keepalive: {
    words: [1, 1],
    run: (id, send) => send({ method: "POST", path: `${pathOf(id)}/keepalive` }),
  },
  get: { words: [1, 1], run: (id, send) => send({ method: "GET", path: pathOf(id) }) },
  list: { words: [0, 0], run: (_word, send) => send({ method: "GET", path: PATH }) },
  revoke: { words: [1, 1], run: (id, send) => send({ method: "DELETE", path: pathOf(id) }) },
};

/** Runs the verb that the words begin with; the answer's text. */
export async function runLeaseVerb(
  [name, ...words]: readonly string[],
  send: Send,
): Promise<string> {
  const verb = name !== undefined && Object.hasOwn(verbs, name) ? verbs[name] : undefined;
  if (verb === undefined) {
    throw new UsageError(`lease takes ${Object.keys(verbs).join(", ")}, not "${name}"`);
  }
  checkWords(`lease ${name}`, words, verb.words);
  return await (await verb.run(words[0] ?? "", send)).text();
}

function pathOf(id: string): string {
  if (!/^[1-9]\d{0,15}$/.test(id)) throw new UsageError(`ID is a lease's id, not "${id}"`);
  return `${PATH}/${id}`;
}
