/**
 * Runs in which processes are killed under load, and what must hold afterwards: every append
 * exactly once and in order, every acknowledged write still there.
 *
 * @module
 */
import { eventually, persist, RealCluster } from "./real_cluster.ts";

/** Keys that the tokens are appended to. */
const KEYS = 5;
const CLIENTS = 8;

/** How large a run is. */
export interface KillOptions {
  /** Writes in all. */
  readonly writes: number;
  readonly kills: number;
  readonly onProgress?: (written: number, kills: number) => void;
}

/** What a run found. */
export interface KillReport {
  readonly writes: number;
  /** From each kill to the first acknowledgement of a request that was sent after it. */
  readonly recoveriesMs: readonly number[];
  /** What was lost, repeated or out of order; empty if all is well. */
  readonly violations: readonly string[];
}

/** Counts acknowledgements and sees the first one after each kill. */
class Progress {
  acknowledged = 0;
  readonly recoveriesMs: number[] = [];
  #killedMs: number | undefined;

  /** A kill happened now. */
  killed(): void {
    this.#killedMs = performance.now();
  }

  /** Whether the last kill has been survived. */
  get recovered(): boolean {
    return this.#killedMs === undefined;
  }

  /** A request that was sent at `sentMs` has been answered. */
  answered(sentMs: number): void {
    this.acknowledged++;
    if (this.#killedMs === undefined || sentMs < this.#killedMs) return;
    this.recoveriesMs.push(performance.now() - this.#killedMs);
    this.#killedMs = undefined;
  }
}

/**
 * Appends distinct tokens to a few keys, each with an idempotency key and repeated until it is
 * acknowledged, while the leader is killed and started again.
 */
export async function killLeaders(options: KillOptions): Promise<KillReport> {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  const progress = new Progress();
  const { endpoints } = cluster;
  const perClient = Math.ceil(options.writes / CLIENTS);
  const writes = perClient * CLIENTS;
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    for (let count = 0; count < perClient; count++) {
      await persist(endpoints, `/v1/kv/${keyOf(client, count)}/append`, {
        method: "POST",
        headers: {
          "content-type": "application/octet-stream",
          "idempotency-key": `client-${client}-${count}`,
        },
        body: `${client}-${count};`,
        onAttempt: (sentMs) => progress.answered(sentMs),
      });
    }
  });
  const killer = killAtSteps(cluster, options, writes, progress);
  await Promise.all([...clients, killer]);
  await cluster.agree();
  const values = await Promise.all(
    Array.from({ length: KEYS }, (_, key) => persist(endpoints, `/v1/kv/key-${key}`, {})),
  );
  const violations = checkAppends(values, perClient);
  return { writes, recoveriesMs: progress.recoveriesMs, violations };
}

/** Puts distinct keys while all nodes are killed at once and started again. */
export async function killAll(options: KillOptions): Promise<KillReport> {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  const progress = new Progress();
  const { endpoints } = cluster;
  const perClient = Math.ceil(options.writes / CLIENTS);
  const writes = perClient * CLIENTS;
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    for (let count = 0; count < perClient; count++) {
      await persist(endpoints, `/v1/kv/all-${client}-${count}`, {
        method: "PUT",
        headers: { "idempotency-key": `all-${client}-${count}` },
        body: `${client}-${count}`,
        onAttempt: (sentMs) => progress.answered(sentMs),
      });
    }
  });
  const killer = (async () => {
    for (let kill = 1; kill <= options.kills; kill++) {
      await untilWritten(progress, writes * kill / (options.kills + 1), options, kill - 1);
      progress.killed();
      await Promise.all(cluster.ids.map((id) => cluster.kill(id)));
      cluster.startAll();
      await cluster.leader();
      await eventually("a write after the kill", () => progress.recovered ? true : undefined);
    }
  })();
  await Promise.all([...clients, killer]);
  await cluster.agree();
  const violations: string[] = [];
  for (let client = 0; client < CLIENTS; client++) {
    for (let count = 0; count < perClient; count++) {
      const name = `${client}-${count}`;
      const response = await fetch(`${endpoints[count % 3]}/v1/kv/all-${name}?meta=true`);
      const value = await response.text();
      if (value !== name) violations.push(`key all-${name} is ${response.status} ${value}`);
      const version = response.headers.get("statecraft-version");
      if (version !== "1") violations.push(`key all-${name} was written ${version} times`);
    }
  }
  return { writes, recoveriesMs: progress.recoveriesMs, violations };
}

async function killAtSteps(
  cluster: RealCluster,
  options: KillOptions,
  writes: number,
  progress: Progress,
): Promise<void> {
  for (let kill = 1; kill <= options.kills; kill++) {
    await untilWritten(progress, writes * kill / (options.kills + 1), options, kill - 1);
    const { id } = await cluster.leader();
    progress.killed();
    await cluster.kill(id);
    await eventually("a write after the kill", () => progress.recovered ? true : undefined);
    const node = cluster.start(id);
    await eventually(
      "the killed node back",
      async () => (await node.status())?.leader,
      () => node.stderr,
    );
  }
}

async function untilWritten(
  progress: Progress,
  count: number,
  { onProgress }: KillOptions,
  kills: number,
): Promise<void> {
  await eventually(`${count} writes`, () => {
    onProgress?.(progress.acknowledged, kills);
    return progress.acknowledged >= count ? true : undefined;
  });
}

function keyOf(client: number, count: number): string {
  return `key-${(client + count) % KEYS}`;
}

/** Every token exactly once, and those of one client in one key in the order it sent them. */
function checkAppends(values: readonly string[], perClient: number): string[] {
  const violations: string[] = [];
  values.forEach((value, key) => {
    const tokens = value.split(";").slice(0, -1);
    for (let client = 0; client < CLIENTS; client++) {
      const found = tokens.filter((token) => token.startsWith(`${client}-`));
      const expected = Array.from({ length: perClient }, (_, count) => count)
        .filter((count) => keyOf(client, count) === `key-${key}`)
        .map((count) => `${client}-${count}`);
      if (found.join() === expected.join()) continue;
      violations.push(
        `key-${key}, client ${client}: ${found.length} tokens instead of ${expected.length}; ` +
          firstDifference(found, expected),
      );
    }
  });
  return violations;
}

function firstDifference(found: readonly string[], expected: readonly string[]): string {
  const at = expected.findIndex((token, at) => token !== found[at]);
  return at < 0
    ? `then ${found[expected.length]}`
    : `at ${at} ${found[at] ?? "nothing"} instead of ${expected[at]}`;
}
