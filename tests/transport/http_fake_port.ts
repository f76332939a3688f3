/**
 * A gateway port over plain arrays: what the routes are tested against, without a node.
 *
 * @module
 */
import type { Command, CommandResult, Request } from "../../storage/kv/command.ts";
import type { ChartDescription } from "../../machines/chart.ts";
import type { Explanation } from "../../machines/explain.ts";
import type {
  ClusterStatus,
  Consistency,
  GatewayPort,
  HealthCheck,
  KvEntry,
  KvRange,
  ReadContext,
  ReadOptions,
} from "../../transport/http/gateway_port.ts";
import { VALUE_BYTES_MAX } from "../../transport/http/limits.ts";

const CHART: ChartDescription = {
  id: "fake",
  initial: [],
  states: [],
  transitions: [],
} as unknown as ChartDescription;

/** A node of one member that leads and remembers; tests replace its methods to make it fail. */
export class FakePort implements GatewayPort {
  readonly nodeId = 1;
  leaderId: number | undefined = 1;
  nowMs = 0;
  checks: HealthCheck[] = [{ name: "fake", ok: true, message: "well" }];
  /** Writes that reached the port, in order. */
  readonly writes: Request[] = [];
  /** Consistency of every read that reached the port, in order. */
  readonly reads: Consistency[] = [];
  readonly #entries = new Map<string, KvEntry>();
  readonly #results = new Map<string, { fingerprint: string; result: CommandResult }>();
  #revision = 0;

  /** What was asked to expire and not taken back, with its delay. */
  readonly expiring = new Map<() => void, number>();

  expireAfter(delayMs: number, expire: () => void): () => void {
    this.expiring.set(expire, delayMs);
    return () => this.expiring.delete(expire);
  }

  write(request: Request): Promise<CommandResult> {
    this.writes.push(request);
    const { once, command } = request;
    if (once?.type === "session") throw new Error("Cannot write: the gateway has no sessions");
    const known = once === undefined ? undefined : this.#results.get(once.key);
    if (known !== undefined && known.fingerprint !== once!.fingerprint) {
      return Promise.resolve({ status: "idempotency-mismatch" });
    }
    if (known !== undefined) {
      const { result } = known;
      return Promise.resolve(result.status === "ok" ? { ...result, replayed: true } : result);
    }
    const result = this.#apply(command);
    if (once !== undefined) {
      this.#results.set(once.key, { fingerprint: once.fingerprint, result });
    }
    return Promise.resolve(result);
  }

  get(
    key: string,
    { consistency }: ReadOptions,
  ): Promise<{ entry: KvEntry | undefined; context: ReadContext }> {
    this.reads.push(consistency);
    return Promise.resolve({ entry: this.#entries.get(key), context: this.#context() });
  }

  list(
    range: KvRange,
    { consistency }: ReadOptions,
  ): Promise<{ entries: KvEntry[]; more: boolean; context: ReadContext }> {
    this.reads.push(consistency);
    const found = this.#within(range);
    if (range.reverse) found.reverse();
    const entries: KvEntry[] = [];
    let bytes = 0;
    for (const entry of found.slice(0, range.limit)) {
      bytes += entry.value.length;
      if (bytes > range.bytesMax && entries.length > 0) break;
      entries.push(entry);
    }
    const more = entries.length < found.length;
    return Promise.resolve({ entries, more, context: this.#context() });
  }

  count(
    range: { readonly start?: string; readonly end?: string },
    { consistency }: ReadOptions,
  ): Promise<{ count: number; context: ReadContext }> {
    this.reads.push(consistency);
    return Promise.resolve({ count: this.#within(range).length, context: this.#context() });
  }

  transfer(to: number): Promise<{ leader: number; term: number }> {
    return Promise.resolve({ leader: to, term: 1 });
  }

  status(): ClusterStatus {
    return {
      clusterId: "fake",
      nodeId: 1,
      group: 0,
      role: "leader",
      term: 1,
      leader: this.leaderId,
      commitIndex: 0,
      appliedIndex: 0,
      lastLogIndex: 0,
      revision: this.#revision,
      stateHash: "",
      members: [],
    };
  }

  chart(): { chart: ChartDescription; active: readonly string[] } {
    return { chart: CHART, active: ["fake"] };
  }

  explain(): Explanation {
    return { states: ["fake"], summary: "Fake", causes: [], possibilities: [] };
  }

  liveness(): readonly HealthCheck[] {
    return this.checks;
  }

  readiness(): readonly HealthCheck[] {
    return this.checks;
  }

  metrics(): string {
    return "# HELP fake A metric\n# TYPE fake gauge\nfake 1\n";
  }

  httpAddressOf(node: number): string | undefined {
    return node === 2 ? "http://127.0.0.1:8002" : undefined;
  }

  leader(): number | undefined {
    return this.leaderId;
  }

  #within(range: { readonly start?: string; readonly end?: string }): KvEntry[] {
    const { start = "", end } = range;
    return [...this.#entries.values()]
      .filter(({ key }) => key >= start && (end === undefined || key < end))
      .sort((a, b) => a.key < b.key ? -1 : 1);
  }

  #context(): ReadContext {
    return { servedBy: 1, leaderId: this.leaderId, term: 1, revision: this.#revision };
  }

  #apply(command: Command): CommandResult {
    const { key, condition } = command;
    const old = this.#entries.get(key);
    const holds = condition === undefined ||
      (condition === "absent"
        ? old === undefined
        : condition === "present"
        ? old !== undefined
        : old?.revision === condition.revision);
    if (!holds) return { status: "precondition-failed", revision: old?.revision ?? 0 };
    if (command.type === "delete") {
      const deleted = this.#entries.delete(key) ? 1 : 0;
      this.#revision += deleted;
      const revision = this.#revision;
      return { status: "ok", revision, version: 0, length: 0, created: false, deleted };
    }
    const isPut = command.type === "put";
    const before = isPut || old === undefined ? [] : [...old.value];
    const bytes = [...before, ...command.value];
    if (bytes.length > VALUE_BYTES_MAX) return { status: "too-large" };
    const revision = ++this.#revision;
    const version = (old?.version ?? 0) + 1;
    this.#entries.set(key, {
      key,
      value: new Uint8Array(bytes),
      contentType: isPut ? command.contentType : old?.contentType,
      created: old?.created ?? revision,
      revision,
      version,
    });
    const created = old === undefined;
    return { status: "ok", revision, version, length: bytes.length, created, deleted: 0 };
  }
}
