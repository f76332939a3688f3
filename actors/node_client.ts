/**
 * The node as the HTTP gateway sees it: finds the leader, retries what surely had no effect, and
 * says what became of a write.
 *
 * Reads of one burst share one request to this node's Raft actor, and so one place in its round.
 *
 * A write goes to the leader's Raft actor, wherever it runs: one hop, since that actor refuses what
 * it cannot do instead of passing it on. A refused request, and one that was not delivered, surely had
 * no effect, and is retried until its time is up. If an answer is lost, the outcome is unknown. Then
 * only a write with an idempotency key is retried, since that is safe to repeat.
 *
 * @module
 */
import type { AuditActor } from "./audit_actor.ts";
import { changeRequestOf } from "./change_request.ts";
import { activePaths, type ChartDescription, describeChart } from "../machines/chart.ts";
import {
  causesOf,
  explain,
  type Explanation,
  type LinkFact,
  type Surroundings,
} from "../machines/explain.ts";
import type { RaftCore } from "../machines/raft_core.ts";
import { raftMachine } from "../machines/raft_machine.ts";
import type { GroupId, NodeId, Term } from "../machines/raft_types.ts";
import { type Command, encodeCommand } from "../storage/kv/command.ts";
import type { CommandResult } from "../storage/kv/command_result.ts";
import type { KvBounds, KvItem, KvRange } from "../storage/kv/entry.ts";
import type { KvStore } from "../storage/kv/kv_store.ts";
import { intervalOf } from "../storage/kv/operations/interval.ts";
import type { Lease } from "../storage/kv/leases.ts";
import type {
  Backup,
  ChangeOptions,
  ClusterStatus,
  GatewayPort,
  HealthCheck,
  LeaseView,
  ListOptions,
  MembersChanged,
  ReadContext,
  ReadOptions,
  TakenSnapshot,
  TransitionSource,
  WatchSource,
} from "../transport/http/gateway_port.ts";
import { GatewayError } from "../transport/http/problem.ts";
import type { StoredSnapshot } from "../storage/log/snapshot_store.ts";
import type { Backups } from "./backups.ts";
import { type ActorRef, CallError, CallTimeoutError, type LocalRef } from "./runtime/actor.ts";
import { type Deadline, Deadlines } from "./runtime/deadlines.ts";
import { BACKUPS_MAX, SCANS_MAX, TIMELINE_VIEWERS_MAX, WATCHES_MAX } from "./limits.ts";
import type { Demand } from "./snapshot_actor.ts";
import { LeaderWatch, RETRY_PAUSE_MS, retryPauseMs } from "./leader_watch.ts";
import type { Ports } from "./runtime/ports.ts";
import type { KvAnswer } from "./group.ts";
import type { Timeline } from "./timeline.ts";
import type { WatchHub } from "./watch_hub.ts";
import { isResult, type RaftRequest } from "./raft_request.ts";

/** How long a request waits for the cluster to agree on the version that it belongs to. */
const TOO_NEW_MS = 2_000;
const SESSION_LOST =
  "The session has ended since the last attempt: nobody knows whether that was applied";
const NO_LEADER = "This node knows no leader; /v1/raft/explain says why";

/** What the node gives its gateway. */
export interface NodeClientOptions {
  readonly group: GroupId;
  readonly core: RaftCore;
  readonly store: KvStore;
  readonly watches: WatchHub;
  readonly timeline: Timeline;
  readonly backups: Backups;
  readonly snapshots: LocalRef<never, never, Demand>;
  readonly ports: Ports;
  /** The Raft actor of this group on any node. */
  readonly raftOn: (node: NodeId) => ActorRef<RaftRequest, KvAnswer>;
  readonly status: () => ClusterStatus;
  readonly metrics: () => string;
  readonly httpAddressOf: (node: NodeId) => string | undefined;
  /** The links to the other members. */
  readonly links: () => readonly LinkFact[];
  /** What the comparison of states has found. */
  readonly audit: Pick<AuditActor, "differences" | "isWrong">;
  /** Whether another node has said that it stops, and takes nothing more (actors/leave.ts). */
  readonly isLeaving: (node: NodeId) => boolean;
  /** Whether the node is stopping. */
  readonly isStopping: () => boolean;
}

/** How an attempt ended. */
type Attempt =
  | { readonly kind: "answer"; readonly answer: KvAnswer }
  /** The request surely had no effect. */
  | { readonly kind: "no-effect"; readonly detail: string }
  | { readonly kind: "unknown"; readonly detail: string };

/** The leader was deposed, and got a snapshot in place of the entry that holds the write. */
const COVERED_BY_SNAPSHOT: Attempt = {
  kind: "unknown",
  detail: "A snapshot covers the request, and does not say what became of it",
};

/** A read barrier that is under way. A read may join it while the Raft actor has begun no other turn. */
interface SharedBarrier {
  /** The Raft actor's last turn before it. */
  readonly turn: number;
  /** A read whose deadline is much earlier or later asks for a barrier of its own. */
  readonly deadlineMs: number;
  readonly attempt: Promise<Attempt>;
}

/** Counters of a gateway, for metrics. */
export interface GatewayCounters {
  /** Reads that needed a barrier: all but the stale ones. */
  reads: number;
}

/** Implements the gateway's port over the actors of one group. */
export class NodeClient implements GatewayPort {
  readonly nodeId: NodeId;
  readonly counters: GatewayCounters = { reads: 0 };
  readonly #options: NodeClientOptions;
  readonly #deadlines: Deadlines;
  readonly #leaderWatch: LeaderWatch;
  readonly #chart: ChartDescription = describeChart(raftMachine);
  #barrier: SharedBarrier | undefined;
  readonly #startMs: number;
  /** Scans that are being read. */
  #scans = 0;
  /** The last leader that was known, and when it was lost; Infinity if it still leads. */
  #lastLeader: { readonly id: NodeId; readonly term: Term; readonly lostMs: number } | undefined;

  /** Serves `options.group`. */
  constructor(options: NodeClientOptions) {
    this.#options = options;
    this.#deadlines = new Deadlines(options.ports);
    this.#leaderWatch = new LeaderWatch(options.ports);
    this.nodeId = options.core.context.id;
    this.#startMs = this.#nowMs;
  }

  /** Must be called when this node hears of a leader, or loses it. */
  leaderChanged(): void {
    const { leaderId, currentTerm } = this.#options.core.context;
    if (leaderId !== undefined) {
      this.#lastLeader = { id: leaderId, term: currentTerm, lostMs: Infinity };
      this.#leaderWatch.wake();
    } else if (this.#lastLeader?.lostMs === Infinity) {
      this.#lastLeader = { ...this.#lastLeader, lostMs: this.#nowMs };
    }
  }

  /** Must be called once the node is stopping: requests that wait are answered now. */
  stopping(): void {
    this.#leaderWatch.wake();
    this.#options.watches.end();
    this.#options.timeline.end();
  }

  write(command: Command, timeoutMs: number): Promise<CommandResult> {
    const mayRepeat = command.once !== undefined;
    return this.execute(encodeCommand(command), { mayRepeat, timeoutMs });
  }

  /** As {@linkcode write}, of a command's bytes, which the leader checks. */
  async execute(
    payload: Uint8Array,
    { mayRepeat, timeoutMs }: { readonly mayRepeat: boolean; readonly timeoutMs: number },
  ): Promise<CommandResult> {
    const request: RaftRequest = { type: "Propose", payload };
    const answer = await this.#askLeader(request, { mayRepeat, timeoutMs });
    if (isResult(answer)) return answer;
    throw new GatewayError("outcome-unknown", `The leader answered a write with ${answer.status}`);
  }

  async get(
    key: string,
    options: ReadOptions,
  ): Promise<{ entry: KvItem | undefined; context: ReadContext }> {
    await this.#freshness(options);
    const entry = this.#options.store.get(key);
    return {
      entry: entry === undefined ? undefined : { key, ...entry },
      context: this.#readContext(),
    };
  }

  async list(
    range: KvRange,
    options: ListOptions,
  ): Promise<{ items: KvItem[]; more: boolean; context: ReadContext }> {
    await this.#freshness(options);
    return { ...this.#options.store.page(range, options.bytesMax), context: this.#readContext() };
  }

  async scan(
    range: KvRange,
    options: ReadOptions,
  ): Promise<{ items: Iterator<KvItem, undefined>; context: ReadContext }> {
    await this.#freshness(options);
    if (this.#scans >= SCANS_MAX) {
      throw new GatewayError("overloaded", `${SCANS_MAX} scans are being read already`);
    }
    this.#scans++;
    const scan = this.#options.store.scan(range);
    const end = (): void => {
      if (isOver) return;
      isOver = true;
      this.#scans--;
    };
    let isOver = false;
    const items: Iterator<KvItem, undefined> = {
      next: () => {
        const next = scan.next();
        if (next.done === true) end();
        return next;
      },
      return: () => {
        end();
        return scan.return!();
      },
    };
    return { items, context: this.#readContext() };
  }

  async count(
    bounds: KvBounds,
    options: ReadOptions,
  ): Promise<{ count: number; context: ReadContext }> {
    await this.#freshness(options);
    const count = this.#options.store.count(bounds);
    return { count, context: this.#readContext() };
  }

  watch(bounds: KvBounds, from: number | undefined): WatchSource {
    const watch = this.#options.watches.watch(intervalOf(bounds), from);
    if (watch !== undefined) return watch;
    throw new GatewayError("overloaded", `There are ${WATCHES_MAX} watches already`);
  }

  async lease(
    id: number,
    options: ReadOptions,
  ): Promise<{ lease: LeaseView & { keys: readonly string[] } | undefined; context: ReadContext }> {
    await this.#freshness(options);
    const found = this.#options.store.lease(id);
    const context = this.#readContext();
    if (found === undefined) return { lease: undefined, context };
    return { lease: { ...this.#leaseView(found.lease), keys: found.keys }, context };
  }

  async leases(
    after: number,
    { limit, ...options }: ReadOptions & { readonly limit: number },
  ): Promise<{ leases: LeaseView[]; more: boolean; context: ReadContext }> {
    await this.#freshness(options);
    const found = this.#options.store.leasesAfter(after, limit + 1);
    const leases = found.slice(0, limit).map((lease) => this.#leaseView(lease));
    return { leases, more: found.length > limit, context: this.#readContext() };
  }

  #leaseView({ id, ttlMs, deadlineMs }: Lease): LeaseView {
    const leftMs = deadlineMs - this.#options.core.state.logTimeAt(this.#nowMs);
    return { id, ttlMs, remainingMs: Math.min(ttlMs, Math.max(0, leftMs)) };
  }

  async backup(timeoutMs: number): Promise<Backup> {
    await this.#freshness({ consistency: "linearizable", timeoutMs });
    const { backups, store: { revision } } = this.#options;
    if (backups.running >= BACKUPS_MAX) {
      throw new GatewayError("overloaded", `${BACKUPS_MAX} backups are being made already`);
    }
    const backup = backups.begin();
    if (backup === undefined) {
      throw new GatewayError("unavailable", "This node is taking over a snapshot of the leader");
    }
    return { clusterId: backup.meta.clusterId, revision, pieces: backup };
  }

  async snapshot(timeoutMs: number): Promise<TakenSnapshot> {
    const { snapshots, core: { state } } = this.#options;
    const newest = state.snapshot?.index;
    const { index, term, size: bytes, meta: { stateHash } } = await new Promise<StoredSnapshot>(
      (resolve, reject) => {
        const fail = (why: string): void =>
          reject(new GatewayError("unavailable", `No snapshot was taken: ${why}`));
        const settled = this.expireAfter(
          timeoutMs,
          () => fail("it is not durable yet, or the leader's is being received"),
        );
        snapshots.signal({
          type: "Demand",
          answer: (result) => {
            settled();
            if (result instanceof Error) fail(result.message);
            else resolve(result);
          },
        });
      },
    );
    return { nodeId: this.nodeId, index, term, bytes, stateHash, isNew: index !== newest };
  }

  async transfer(to: NodeId, timeoutMs: number): Promise<{ leader: NodeId; term: Term }> {
    const { context } = this.#options.core;
    if (!context.voters.includes(to)) {
      throw new GatewayError(
        "invalid-request",
        `Node ${to} is not a voter; the voters are ${context.voters.join(", ")}`,
      );
    }
    if (context.leaderId === to) return { leader: to, term: context.currentTerm };
    const asked = { mayRepeat: true, timeoutMs };
    const answer = await this.#askLeader({ type: "Transfer", to }, asked);
    if (answer.status === "transferred") return { leader: answer.leader, term: answer.term };
    throw new GatewayError(
      "conflict",
      `The transfer to node ${to} was aborted: is it up, and does its disk keep up and have space left?`,
    );
  }

  async changeMembers(
    plain: unknown,
    { force, dryRun, timeoutMs }: ChangeOptions,
  ): Promise<MembersChanged> {
    const change = changeRequestOf(plain);
    // A change that was made once is another one when it is asked for again.
    const asked = { mayRepeat: false, timeoutMs };
    const request: RaftRequest = { type: "ChangeMembers", change, force, dryRun };
    const answer = await this.#askLeader(request, asked);
    if (answer.status !== "members") {
      const detail = `The leader answered a change of the members with ${answer.status}`;
      throw new GatewayError("outcome-unknown", detail);
    }
    if (answer.accepted) return { ...answer.report, applied: !dryRun };
    if (dryRun && answer.report !== undefined) {
      return { ...answer.report, applied: false, objection: answer.detail };
    }
    // The leader raises the cluster version by itself, once all members are upgraded.
    const isForNow = answer.reason === "old-build";
    throw new GatewayError(isForNow ? "unavailable" : "conflict", answer.detail);
  }

  status(): ClusterStatus {
    return this.#options.status();
  }

  chart(): { chart: ChartDescription; active: readonly string[] } {
    return { chart: this.#chart, active: activePaths(this.#options.core.snapshot.value) };
  }

  transitions(after: string | undefined): TransitionSource {
    const source = this.#options.timeline.view(after);
    if (source !== undefined) return source;
    throw new GatewayError("overloaded", `${TIMELINE_VIEWERS_MAX} watch the chart already`);
  }

  explain(): Explanation {
    const { core } = this.#options;
    return explain(core.snapshot, core.state, this.#surroundings());
  }

  liveness(): readonly HealthCheck[] {
    const stopping = this.#options.isStopping();
    return [{ name: "node", ok: !stopping, message: stopping ? "stopping" : "running" }];
  }

  readiness(): readonly HealthCheck[] {
    const { snapshot, state, context: { leaderId, currentTerm } } = this.#options.core;
    const { disk, space } = snapshot.value;
    const surroundings = this.#surroundings();
    const { links } = surroundings;
    const causes = causesOf(snapshot, state, surroundings);
    const about = (codes: readonly string[]): string =>
      causes.filter(({ code }) => codes.includes(code)).map(({ sentence }) => sentence).join("; ");
    const up = links.filter(({ isUp }) => isUp).length;
    const lost = about(["link-down", "refused", "directory-lost"]);
    const isLeaderKnown = leaderId !== undefined;
    return [
      ...this.liveness(),
      {
        name: "leader",
        ok: isLeaderKnown,
        message: isLeaderKnown
          ? `Node ${leaderId} leads term ${currentTerm}`
          : about(["log-lost", "no-leader", "no-quorum"]),
      },
      // While a leader is known, a lost link is no reason to send requests elsewhere.
      {
        name: "links",
        ok: isLeaderKnown || causes.every(({ code }) => code !== "no-quorum"),
        message: `${up} of ${links.length} are up${lost === "" ? "" : `; ${lost}`}`,
      },
      // Without space reads go on, so that is no reason to send requests elsewhere.
      {
        name: "disk",
        ok: disk !== "stalled",
        message: space === "enough" ? disk : `${disk}; ${about(["disk-full", "space-low"])}`,
      },
      this.#stateCheck(),
    ];
  }

  /** A state that a majority holds otherwise must not be served. */
  #stateCheck(): HealthCheck {
    const { differences, isWrong } = this.#options.audit;
    const peers = differences.map(({ peer }) => peer).join(", ");
    return {
      name: "state",
      ok: !isWrong,
      message: differences.length === 0 ? "equal" : `It differs from that of node ${peers}`,
    };
  }

  metrics(): string {
    return this.#options.metrics();
  }

  httpAddressOf(node: NodeId): string | undefined {
    return this.#options.httpAddressOf(node);
  }

  leader(): NodeId | undefined {
    return this.#options.core.context.leaderId;
  }

  expireAfter(delayMs: number, expire: () => void): () => void {
    const deadline: Deadline = { place: -1, tick: 0, expire };
    this.#deadlines.set(deadline, delayMs);
    return () => this.#deadlines.clear(deadline);
  }

  /** Waits until this node's store is as fresh as the read asks. */
  async #freshness({ consistency, minRevision, timeoutMs }: ReadOptions): Promise<void> {
    const deadlineMs = this.#nowMs + timeoutMs;
    if (consistency !== "stale") {
      this.counters.reads++;
      for (let attempts = 1;; attempts++) {
        const attempt = await this.#sharedBarrier(deadlineMs);
        if (attempt.kind === "answer" && attempt.answer.status === "ready") break;
        // A read changes nothing, so it may always be tried again.
        const detail = attempt.kind === "answer" ? "no leader" : attempt.detail;
        await this.#pause({ deadlineMs, detail, attempts, mayHaveHadEffect: false });
      }
    }
    if (minRevision === undefined) return;
    while (this.#options.store.revision < minRevision) {
      const { revision } = this.#options.store;
      const detail = `revision ${minRevision} was not reached in time, this node is at ${revision}`;
      // This waits for the next entry, and not for a leader, so the pause stays short.
      await this.#pause({ deadlineMs, detail, attempts: 1, mayHaveHadEffect: false });
    }
  }

  /**
   * Asks for a read index, or joins the last request for one. Safety (thesis s6.4): a read may join
   * only while that request still waits in the Raft actor's mailbox. It surely waits there as long as
   * no turn has begun. So the round that answers begins after every read that shares it has arrived.
   */
  #sharedBarrier(deadlineMs: number): Promise<Attempt> {
    const { turn } = this.#options.core.state;
    const waiting = this.#barrier;
    const isShared = waiting !== undefined && waiting.turn === turn &&
      Math.abs(waiting.deadlineMs - deadlineMs) <= RETRY_PAUSE_MS;
    if (isShared) return waiting.attempt;
    const self = this.#options.raftOn(this.nodeId);
    const attempt = this.#ask(self, { type: "ReadBarrier" }, deadlineMs);
    const asked = { turn, deadlineMs, attempt };
    this.#barrier = asked;
    // A barrier that failed without a turn must not fail later reads.
    attempt.then(() => {
      if (this.#barrier === asked) this.#barrier = undefined;
    });
    return attempt;
  }

  /** Asks the leader until it answers or the request's time is up. */
  async #askLeader(
    request: RaftRequest,
    { mayRepeat, timeoutMs: allMs }: { readonly mayRepeat: boolean; readonly timeoutMs: number },
  ): Promise<KvAnswer> {
    const startMs = this.#nowMs;
    const deadlineMs = startMs + allMs;
    let mayHaveHadEffect = false;
    for (let attempts = 1;; attempts++) {
      const leader = this.#options.core.context.leaderId ?? this.nodeId;
      const attempt: Attempt = this.#options.isLeaving(leader)
        ? { kind: "no-effect", detail: `node ${leader} is stopping` }
        : await this.#ask(this.#options.raftOn(leader), request, deadlineMs);
      if (attempt.kind === "unknown") {
        mayHaveHadEffect = true;
        if (!mayRepeat) throw new GatewayError("outcome-unknown", attempt.detail);
      } else if (attempt.kind === "answer") {
        const { answer } = attempt;
        if (answer.status === "refused" && answer.reason === "overloaded" && !mayHaveHadEffect) {
          const detail =
            "The leader holds too much that is not committed, or too many idempotency keys";
          throw new GatewayError("overloaded", detail);
        }
        if (answer.status === "refused" && answer.reason === "no-space" && !mayHaveHadEffect) {
          throw new GatewayError("no-space", "The leader's disk has too little space left");
        }
        if (answer.status === "refused" && answer.reason === "invalid" && !mayHaveHadEffect) {
          throw new GatewayError("invalid-request", "The leader cannot read the request");
        }
        // A cluster that was just founded, or upgraded, agrees on its version within a moment.
        const isTooNew = answer.status === "refused" && answer.reason === "too-new" &&
          this.#nowMs - startMs >= TOO_NEW_MS;
        if (isTooNew && !mayHaveHadEffect) {
          const detail =
            "A member of the cluster runs an older build, which cannot read the request";
          throw new GatewayError("conflict", detail);
        }
        if (answer.status === "session-expired" && mayHaveHadEffect) {
          throw new GatewayError("outcome-unknown", SESSION_LOST);
        }
        const isFinal = answer.status !== "not-applied" &&
          (answer.status !== "refused" || answer.reason === "aborted");
        if (isFinal) return answer;
      }
      const notTaken = mayHaveHadEffect
        ? "the last attempt was not taken; what became of an earlier one is not known"
        : "the request was not taken";
      const detail = attempt.kind === "answer" ? notTaken : attempt.detail;
      await this.#pause({ deadlineMs, detail, attempts, mayHaveHadEffect });
    }
  }

  /** One attempt, with what its failure means for the request's effect. */
  #ask(
    ref: ActorRef<RaftRequest, KvAnswer>,
    request: RaftRequest,
    deadlineMs: number,
  ): Promise<Attempt> {
    const timeoutMs = Math.max(1, deadlineMs - this.#nowMs);
    return new Promise((resolve) => {
      ref.ask(request, { timeoutMs }, (outcome) => {
        if (!outcome.ok) resolve(failedAttempt(outcome.error));
        else if (outcome.value.status === "unknown") resolve(COVERED_BY_SNAPSHOT);
        else resolve({ kind: "answer", answer: outcome.value });
      });
    });
  }

  /** Waits before the next attempt, or gives up with what is known of the outcome. */
  async #pause(
    { deadlineMs, detail, attempts, mayHaveHadEffect }: {
      readonly deadlineMs: number;
      readonly detail: string;
      readonly attempts: number;
      readonly mayHaveHadEffect: boolean;
    },
  ): Promise<void> {
    const { core, isStopping } = this.#options;
    if (this.#nowMs + RETRY_PAUSE_MS >= deadlineMs || isStopping()) {
      if (mayHaveHadEffect) throw new GatewayError("outcome-unknown", detail);
      const { leaderId } = core.context;
      if (leaderId === undefined) {
        throw new GatewayError("unavailable", `${NO_LEADER} (${detail})`);
      }
      throw new GatewayError("unavailable", `Node ${leaderId} leads: ${detail}`, {
        leader: leaderId,
      });
    }
    const lastMs = deadlineMs - RETRY_PAUSE_MS;
    const isLeaderKnown = core.context.leaderId !== undefined;
    await this.#leaderWatch.wait(
      isLeaderKnown ? Math.min(lastMs, this.#nowMs + retryPauseMs(attempts)) : lastMs,
    );
  }

  #surroundings(): Surroundings {
    const { links, core } = this.#options;
    const last = this.#lastLeader;
    // A leader that is gone fell silent before this node gave it up.
    const heardMs = last === undefined
      ? this.#startMs
      : last.id === this.nodeId
      ? last.lostMs
      : Math.min(last.lostMs, core.state.leaderContactMs);
    return {
      links: links(),
      upForMs: this.#nowMs - this.#startMs,
      lastLeader: last && { id: last.id, term: last.term, agoMs: this.#nowMs - heardMs },
    };
  }

  get #nowMs(): number {
    return this.#options.ports.clock.monotonicMs();
  }

  #readContext(): ReadContext {
    const { leaderId, currentTerm: term } = this.#options.core.context;
    const { revision } = this.#options.store;
    return { servedBy: this.nodeId, leaderId, term, revision };
  }
}

function failedAttempt(error: Error): Attempt {
  if (error instanceof CallError && error.outcome === "not-delivered") {
    return { kind: "no-effect", detail: error.message };
  }
  if (error instanceof CallTimeoutError) {
    return {
      kind: "unknown",
      detail: `No quorum answered within ${error.timeoutMs.toFixed(0)} ms`,
    };
  }
  return { kind: "unknown", detail: error.message };
}
