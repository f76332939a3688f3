/**
 * A gateway port over a store alone: what the routes are tested against, without a node.
 *
 * @module
 */
import { changeRequestOf } from "../../actors/change_request.ts";
import { GatewayError } from "../../transport/http/problem.ts";
import { foundingConfig, type GroupConfig } from "../../machines/group_config.ts";
import {
  ChangeError,
  configWith,
  isEmptyChange,
  leaveJoint,
  type MembershipChange,
  objectionTo,
  reportOf,
} from "../../machines/membership_change.ts";
import { type Command, encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import type { KvBounds, KvItem, KvRange } from "../../storage/kv/entry.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import type { ChartDescription } from "../../machines/chart.ts";
import type { Explanation } from "../../machines/explain.ts";
import { Timeline } from "../../actors/timeline.ts";
import type {
  Backup,
  ChangeOptions,
  ClusterStatus,
  Consistency,
  GatewayPort,
  HealthCheck,
  LeaseView,
  ListOptions,
  MembersChanged,
  MemberStatus,
  ReadContext,
  ReadOptions,
  TakenSnapshot,
  TransitionSource,
  WatchSource,
} from "../../transport/http/gateway_port.ts";
import type { Lease } from "../../storage/kv/leases.ts";
import { WatchHub } from "../../actors/watch_hub.ts";
import { intervalOf } from "../../storage/kv/operations/interval.ts";
import { Backups } from "../../actors/backups.ts";

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
  readonly writes: Command[] = [];
  /** Consistency of every read that reached the port, in order. */
  readonly reads: Consistency[] = [];
  readonly #store = new KvStore();

  /** What was asked to expire and not taken back, with its delay. */
  readonly expiring = new Map<() => void, number>();

  expireAfter(delayMs: number, expire: () => void): () => void {
    this.expiring.set(expire, delayMs);
    return () => this.expiring.delete(expire);
  }

  write(command: Command): Promise<CommandResult> {
    this.writes.push(command);
    const { changes, results } = this.#store.apply({
      ...{ index: this.#store.lastApplied + 1, term: 1, timeMs: this.nowMs, kind: "command" },
      requests: [encodeCommand(command)],
    });
    this.watches.changed(changes);
    return Promise.resolve(results[0]!);
  }

  get(
    key: string,
    { consistency }: ReadOptions,
  ): Promise<{ entry: KvItem | undefined; context: ReadContext }> {
    this.reads.push(consistency);
    const found = this.#store.get(key);
    const entry = found === undefined ? undefined : { key, ...found };
    return Promise.resolve({ entry, context: this.#context() });
  }

  list(
    range: KvRange,
    { consistency, bytesMax }: ListOptions,
  ): Promise<{ items: KvItem[]; more: boolean; context: ReadContext }> {
    this.reads.push(consistency);
    return Promise.resolve({ ...this.#store.page(range, bytesMax), context: this.#context() });
  }

  scan(range: KvRange, { consistency }: ReadOptions): ReturnType<GatewayPort["scan"]> {
    this.reads.push(consistency);
    return Promise.resolve({ items: this.#store.scan(range), context: this.#context() });
  }

  count(
    bounds: KvBounds,
    { consistency }: ReadOptions,
  ): Promise<{ count: number; context: ReadContext }> {
    this.reads.push(consistency);
    return Promise.resolve({ count: this.#store.count(bounds), context: this.#context() });
  }

  readonly watches = new WatchHub(0);
  readonly timeline = new Timeline({ life: () => 7, nowMs: () => this.nowMs });

  watch(bounds: KvBounds, from: number | undefined): WatchSource {
    return this.watches.watch(intervalOf(bounds), from)!;
  }

  lease(id: number, { consistency }: ReadOptions): ReturnType<GatewayPort["lease"]> {
    this.reads.push(consistency);
    const found = this.#store.lease(id);
    const lease = found && { ...this.#leaseView(found.lease), keys: found.keys };
    return Promise.resolve({ lease, context: this.#context() });
  }

  leases(
    after: number,
    { consistency, limit }: ReadOptions & { readonly limit: number },
  ): ReturnType<GatewayPort["leases"]> {
    this.reads.push(consistency);
    const found = this.#store.leasesAfter(after, limit + 1);
    const leases = found.slice(0, limit).map((lease) => this.#leaseView(lease));
    return Promise.resolve({ leases, more: found.length > limit, context: this.#context() });
  }

  #leaseView({ id, ttlMs, deadlineMs }: Lease): LeaseView {
    return { id, ttlMs, remainingMs: deadlineMs - this.#store.logTimeMs };
  }

  readonly backups = new Backups({
    ...{ group: 0, clusterId: "fake", machine: this.#store },
    factsAt: () => ({ term: 1, timeMs: 0, clusterVersion: 1, members: [1] }),
  });

  backup(): Promise<Backup> {
    const { revision } = this.#store;
    return Promise.resolve({ clusterId: "fake", revision, pieces: this.backups.begin()! });
  }

  snapshot(): Promise<TakenSnapshot> {
    const facts = { nodeId: 1, index: 2, term: 1, bytes: 3, stateHash: "", isNew: true };
    return Promise.resolve(facts);
  }

  transfer(to: number): Promise<{ leader: number; term: number }> {
    return Promise.resolve({ leader: to, term: 1 });
  }

  /** Who the members are, as its status says. */
  members: readonly MemberStatus[] = [];
  /** What it was asked to change, newest last. */
  readonly changes: { readonly change: MembershipChange; readonly options: ChangeOptions }[] = [];
  /** Changed by {@linkcode changeMembers}; voter 3 does not answer. */
  config: GroupConfig = foundingConfig({ voters: [1, 2, 3] });

  /** Whether the leader has met a member's data directory. */
  isMet: (id: number) => boolean = () => true;

  changeMembers(plain: unknown, options: ChangeOptions): Promise<MembersChanged> {
    try {
      const change = changeRequestOf(plain);
      this.changes.push({ change, options });
      if (isEmptyChange(change)) throw new ChangeError("The change asks for nothing");
      const next = configWith(this.config, change, () => undefined);
      const report = reportOf({ before: this.config, change, next }, {
        isAlive: (id) => id !== 3,
        entriesBehind: (id) => id === 3 ? 7 : 0,
        directoryOf: (id) => this.isMet(id) ? `directory-${id}` : undefined,
      });
      const isObjectionable = objectionTo(report) !== undefined;
      const objection = "Too few answer";
      if (isObjectionable && !options.force && !options.dryRun) {
        throw new GatewayError("conflict", objection);
      }
      if (!options.dryRun) this.config = leaveJoint(next);
      return Promise.resolve({
        ...report,
        applied: !options.dryRun,
        ...(options.dryRun && isObjectionable ? { objection } : {}),
      });
    } catch (error) {
      if (!(error instanceof ChangeError)) return Promise.reject(error);
      return Promise.reject(new GatewayError("conflict", error.message));
    }
  }

  status(): ClusterStatus {
    return {
      clusterId: "fake",
      clusterVersion: 1,
      nodeId: 1,
      group: 0,
      role: "leader",
      term: 1,
      leader: this.leaderId,
      commitIndex: 0,
      appliedIndex: 0,
      lastLogIndex: 0,
      revision: this.#store.revision,
      stateHash: "",
      members: this.members,
      configIndex: 0,
    };
  }

  chart(): { chart: ChartDescription; active: readonly string[] } {
    return { chart: CHART, active: ["fake"] };
  }

  transitions(after: string | undefined): TransitionSource {
    return this.timeline.view(after)!;
  }

  explain(): Explanation {
    const possibility = { from: "fake", event: "Fake", actions: ["fake"], sentence: "Always" };
    return { states: ["fake"], summary: "Fake", causes: [], possibilities: [possibility] };
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

  #context(): ReadContext {
    return { servedBy: 1, leaderId: this.leaderId, term: 1, revision: this.#store.revision };
  }
}
