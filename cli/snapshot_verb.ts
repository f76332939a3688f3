/**
 * `kv snapshot`: every endpoint's node takes a snapshot of its state now.
 *
 * @module
 */
import type { TakenSnapshot } from "../mod.ts";
import { askAll, ClientError, jsonIn, type Reach } from "./http_client.ts";
import { EXIT } from "./usage.ts";

/**
 * Prints what each node's snapshot covers, a line each.
 *
 * @throws {ClientError} If a node has taken none.
 */
export async function takeSnapshots(
  reach: Reach,
  output: string,
  show: (text: string) => void,
): Promise<void> {
  const answers = await askAll(
    { method: "POST", path: "/v1/snapshot", accept: "application/json" },
    reach,
  );
  let failed = 0;
  for (const answer of answers) {
    const { endpoint } = answer;
    const body = answer.failure === undefined ? jsonIn(answer.body) : undefined;
    const taken = answer.failure === undefined && answer.status === 200;
    if (!taken) failed++;
    const failure = answer.failure ?? (body as { detail?: string } | undefined)?.detail ??
      "is no Statecraft node";
    if (output !== "table") {
      show(`${JSON.stringify({ endpoint, ...(taken ? body as TakenSnapshot : { failure }) })}\n`);
    } else show(`${endpoint}  ${taken ? sentenceOf(body as TakenSnapshot) : failure}\n`);
  }
  if (failed === 0) return;
  throw new ClientError(
    `${failed} of ${answers.length} endpoints have taken no snapshot`,
    failed === answers.length ? EXIT.unavailable : EXIT.failure,
  );
}

function sentenceOf({ nodeId, index, term, bytes, isNew }: TakenSnapshot): string {
  const what = isNew ? "a snapshot was taken" : "nothing was written since the last snapshot";
  return `node ${nodeId}: ${what}: up to entry ${index} of term ${term}, ${bytes} bytes`;
}
