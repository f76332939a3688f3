/**
 * The worker of seed_run.ts.
 *
 * @module
 */
import { runSeed, type SeedTask } from "./seed_run.ts";

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<SeedTask>) => void;
  postMessage(message: unknown): void;
};
scope.onmessage = async ({ data }) => {
  scope.postMessage(await runSeed(data));
};
