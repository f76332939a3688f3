/**
 * A simulated cluster: nodes, network, and the invariants that watch every event.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { DEFAULT_BOUNDS, type ReplicationBounds } from "../../machines/bounds.ts";
import type { KvGroup } from "../../actors/group.ts";
import type { SnapshotTrigger } from "../../actors/machine_actor.ts";
import { DEFAULT_TIMING, type RaftTiming } from "../../machines/group_state.ts";
import type {
  AppendEntriesReply,
  GroupId,
  LogIndex,
  NodeId,
  Term,
} from "../../machines/raft_types.ts";
import { crc32c } from "../../storage/crc32c.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { decodeCommand } from "../../storage/kv/command.ts";
import type { Once } from "../../storage/kv/once.ts";
import { recordFormat } from "../../storage/log/wal_record.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import { FRAME_HEADER_BYTES } from "../../transport/wire/limits.ts";
import type { WireMessage } from "../../transport/wire/messages.ts";
import { EventLoop } from "./event_loop.ts";
import { CommittedIsDurable } from "./invariants/inv5_committed_is_durable.ts";
import { FreshReads } from "./invariants/inv12_fresh_reads.ts";
import { HonestSnapshots } from "./invariants/inv13_honest_snapshots.ts";
import { HonestAcceptance } from "./invariants/inv11_honest_acceptance.ts";
import { ElectionSafety } from "./invariants/inv1_election_safety.ts";
import { ExactlyOnce } from "./invariants/inv8_exactly_once.ts";
import { LeaderCompleteness } from "./invariants/inv3_leader_completeness.ts";
import { Liveness } from "./invariants/inv10_liveness.ts";
import { LogMatching } from "./invariants/inv2_log_matching.ts";
import { Monotone } from "./invariants/inv6_monotone.ts";
import { NoLostWrite } from "./invariants/inv7_no_lost_write.ts";
import { StateMachineSafety } from "./invariants/inv4_state_machine_safety.ts";
import { type NetworkTraits, SimNetwork, type Way } from "./network.ts";
import type { Invariant, Observation } from "./observation.ts";
import { describeDisk, describeFate } from "./play.ts";
import { Dice } from "./random.ts";
import { SimNode } from "./sim_node.ts";

/** What a run is made from, besides its faults and its workload. */
export interface SimClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly groups?: readonly GroupId[];
  /** Let the seed decide timeouts and what the network holds and cuts; else they are the usual. */
  readonly isDrawn?: boolean;
  /** Collect the run as a play. */
  readonly transcript?: boolean;
}

/** Segments hold from 1 KiB to 1 MiB: the smallest is begun every few writes. */
const SEGMENT_BYTES_MIN = 1024;
const SEGMENT_DOUBLINGS = 11;

/** Bounds from what a few writes fill to what a node uses. */
function drawBounds(dice: Dice): ReplicationBounds {
  return {
    appendBytesMax: DEFAULT_BOUNDS.appendBytesMax >> dice.below(15),
    inflightMessagesMax: DEFAULT_BOUNDS.inflightMessagesMax >> dice.below(8),
    inflightBytesMax: DEFAULT_BOUNDS.inflightBytesMax >> dice.below(16),
    uncommittedBytesMax: DEFAULT_BOUNDS.uncommittedBytesMax >> dice.below(14),
    snapshotPartBytesMax: DEFAULT_BOUNDS.snapshotPartBytesMax >> dice.below(14),
    trailingBytes: DEFAULT_BOUNDS.trailingBytes >> (6 + dice.below(18)),
    awaitedBytesMax: DEFAULT_BOUNDS.awaitedBytesMax >> (10 + dice.below(18)),
  };
}

/** A snapshot every few writes to every few thousand. */
function drawTrigger(dice: Dice): SnapshotTrigger {
  return { bytes: 1024 << dice.below(8), entries: 20 << dice.below(8) };
}

/** Timeouts from half to twice the usual, as operators may set them. */
function drawTiming(dice: Dice): RaftTiming {
  const electionTimeoutMsMin = Math.round(dice.between(150, 600));
  return {
    electionTimeoutMsMin,
    electionTimeoutMsMax: Math.round(electionTimeoutMsMin * dice.between(1.5, 2.5)),
    heartbeatMs: Math.round(electionTimeoutMsMin / dice.between(3, 8)),
  };
}

/** Links that are whole or cut often, and that hold from a few frames to all that the product sends. */
function drawTraits(dice: Dice): NetworkTraits {
  return {
    cutShare: dice.chance(0.5) ? 0 : dice.between(0, 0.2),
    heldBytesMax: HELD_BYTES_MIN << dice.below(HELD_DOUBLINGS),
  };
}

/** A sender's connection holds from 4 KiB to 32 MiB. */
const HELD_BYTES_MIN = 4 * 1024;
const HELD_DOUBLINGS = 14;

/** What tells promises on the wire from other frames. */
const PROMISE_TAGS = promises().map((message) =>
  createCodec(recordFormat).encode(message).at(FRAME_HEADER_BYTES + 1)
);

function promises(): WireMessage[] {
  const rpc = { group: 0, term: 1, from: 1 };
  const numbers = { matchIndex: 0, prevLogIndex: 0, conflictTerm: 0, conflictIndex: 0, round: 0 };
  return [
    { type: "RequestVoteReply", ...rpc, granted: true },
    { type: "AppendEntriesReply", ...rpc, ...numbers, accepted: true },
  ];
}

/** A broken invariant; the run is over. */
export class InvariantViolation extends Error {
  override readonly name = "InvariantViolation";

  constructor(invariant: string, text: string, nowMs: number) {
    super(`${invariant}: ${text} (at ${nowMs.toFixed(3)} ms)`);
  }
}

/** What is known of a group on a node, to see what an event changed. */
interface Seen {
  life: number;
  role: string;
  term: Term;
  votedFor: NodeId | undefined;
  commitIndex: LogIndex;
  applied: LogIndex;
  /** Term of each entry, index 1 first. */
  readonly terms: Term[];
  /** What the node said to be durable: the last entry, its term, and the term it had entered. */
  promised: { index: LogIndex; entryTerm: Term; term: Term };
}

/** A whole cluster on virtual time. */
export class SimCluster {
  readonly loop: EventLoop = new EventLoop();
  readonly dice: Dice;
  readonly network: SimNetwork;
  /** The timeouts of every node. */
  readonly timing: RaftTiming;
  readonly nodes: Map<NodeId, SimNode> = new Map();
  readonly groups: readonly GroupId[];
  /** Log lines of the nodes and of the faults, if asked for. */
  readonly transcript: string[] = [];
  /** Events after which a leader's window to a follower was full. */
  windowsFilled = 0;
  /** Why processes ended by themselves. */
  readonly failures: { readonly node: NodeId; readonly error: Error }[] = [];
  readonly invariants: readonly Invariant[] = [
    new ElectionSafety(),
    new LogMatching(),
    new LeaderCompleteness(),
    new StateMachineSafety(),
    new CommittedIsDurable(),
    new Monotone(),
    new NoLostWrite(),
    new ExactlyOnce(),
    new Liveness(),
    new HonestAcceptance(),
    new FreshReads(),
    new HonestSnapshots(),
  ];
  readonly #options: SimClusterOptions;
  readonly #seen = new Map<string, Seen>();
  /** Directories of nodes that have each taken the other's: "mine theirs". */
  readonly #met = new Set<string>();
  /** What was last seen of the groups on disks that were lost, by node and group. */
  readonly #lost = new Map<string, Seen>();
  #violation: InvariantViolation | undefined;
  /** Terms of the entries of each group that any node has known to be committed, index 1 first. */
  readonly #committed = new Map<GroupId, Term[]>();
  #traceHash = 0;
  /** Promises of processes that somebody waits for. */
  #promises = 0;
  /** The node whose process ran in the last event. */
  #ran: NodeId | undefined;

  constructor(options: SimClusterOptions) {
    this.#options = options;
    this.groups = options.groups ?? [0];
    this.dice = new Dice(options.seed);
    const isDrawn = options.isDrawn === true;
    this.timing = isDrawn ? drawTiming(this.dice) : DEFAULT_TIMING;
    const traits = isDrawn ? drawTraits(this.dice) : undefined;
    this.network = new SimNetwork(this.loop, this.dice, traits);
    if (options.transcript === true) {
      this.network.onFate = (fate, way, message) =>
        this.say(() => describeFate(fate, way, message));
    }
    this.network.onSend = (way, frame, message) => this.#sent(way, frame, message);
    const ids = Array.from({ length: options.nodes }, (_, offset) => offset + 1);
    const members = new Map(ids.map((id) => [id, SimNetwork.addressOf(id)]));
    for (const id of ids) {
      const node = new SimNode({
        id,
        groups: this.groups,
        members,
        timing: this.timing,
        bounds: drawBounds(this.dice),
        loop: this.loop,
        dice: this.dice,
        tornPartBytes: this.dice.chance(0.5) ? 512 : 4096,
        segmentBytes: SEGMENT_BYTES_MIN << this.dice.below(SEGMENT_DOUBLINGS),
        ...(isDrawn ? { snapshotAfter: drawTrigger(this.dice) } : {}),
        network: this.network,
        log: (level, event, fields) => {
          const words = Object.entries(fields).filter(([, value]) => value !== undefined)
            .map(([name, value]) => ` ${name}=${value}`).join("");
          this.say(`${level.padEnd(5)} node ${id}  ${event}${words}`);
        },
        onFailed: (error) => this.#failed(id, error),
        onGroup: (host) => this.#watchStore(id, host),
        onDisk: (operation, failed) => this.say(() => describeDisk(id, operation, failed)),
        onRan: (ran) => void (this.#ran = ran),
        onLink: (id, peer, link) => {
          if (link === "up") this.#met.add(this.#pairOf(id, peer));
        },
      });
      this.nodes.set(id, node);
    }
  }

  /** Ids of all nodes. */
  get ids(): NodeId[] {
    return [...this.nodes.keys()];
  }

  /** A digest of everything that happened so far. */
  get traceHash(): string {
    return (this.#traceHash >>> 0).toString(16).padStart(8, "0");
  }

  /** The node with this id. */
  node(id: NodeId): SimNode {
    return this.nodes.get(id)!;
  }

  /** A node's group; undefined if the node is down. */
  host(id: NodeId, group: GroupId = this.groups[0]!): KvGroup | undefined {
    return this.node(id).process?.groups.get(group)?.host;
  }

  /** The leader with the highest term among the running nodes. */
  leader(group: GroupId = this.groups[0]!): NodeId | undefined {
    let leader: NodeId | undefined;
    let term = -1;
    for (const id of this.ids) {
      const core = this.host(id, group)?.core;
      if (core?.role === "leader" && core.context.currentTerm > term) {
        leader = id;
        term = core.context.currentTerm;
      }
    }
    return leader;
  }

  /** Adds a line to the play, if there is one; a frequent line is made only then. */
  say(line: string | (() => string | undefined)): void {
    if (this.#options.transcript !== true) return;
    const text = typeof line === "string" ? line : line();
    if (text === undefined) return;
    this.transcript.push(`${this.loop.nowMs.toFixed(3).padStart(12)}  ${text}`);
  }

  /** Starts every node. */
  startAll(): void {
    for (const id of this.ids) this.start(id);
  }

  /** Starts a node that is down. */
  start(id: NodeId): void {
    const node = this.node(id);
    if (node.running) return;
    try {
      node.start();
    } catch (error) {
      if (!isDiskFault(error)) throw error;
      // A directory cannot be created on a full disk: the process ends, and is started again later.
      this.say(`fault node ${id}  cannot start: ${error.message}`);
      node.crash({ keepCache: false });
      return;
    }
    this.say(`info  node ${id}  started life=${node.lives}`);
    for (const host of node.groups) this.#recovered(id, host);
    this.#ran = id;
    this.#look();
  }

  /** Crashes a node. */
  crash(id: NodeId, options: { readonly keepCache: boolean } = { keepCache: false }): void {
    if (!this.node(id).running) return;
    this.say(`fault node ${id}  crash cache=${options.keepCache ? "kept" : "lost"}`);
    this.node(id).crash(options);
  }

  /** Stops a node in order, as SIGTERM does; answers whether it has ended. */
  stop(id: NodeId): () => boolean {
    const { process, life } = this.node(id);
    if (process === undefined || life === undefined) return () => true;
    this.say(`fault node ${id}  told to stop`);
    const answered = this.awaitPromise();
    const ended = (): void => {
      answered();
      if (!life.ended) this.crash(id, { keepCache: true });
    };
    process.stop().then(ended, (error) => {
      if (!life.ended) this.failures.push({ node: id, error });
      ended();
    });
    return () => {
      if (life.ended) answered();
      return life.ended;
    };
  }

  /** Nodes that have lost a disk. */
  get lost(): NodeId[] {
    return this.ids.filter((id) => this.node(id).isLost);
  }

  /**
   * Whether a node's disk may be lost now: its first, of no more than a minority in a run, for what
   * a majority has lost is lost; and only once all others that still have their disks have greeted
   * it: a node that never met the old directory cannot tell it from the new one. That is the documented
   * limit of storage/log/peer_identities.ts, and not what is tested here.
   */
  mayWipe(id: NodeId): boolean {
    const { ids, lost } = this;
    if (lost.includes(id) || 2 * (lost.length + 1) >= ids.length) return false;
    return ids.every((other) =>
      other === id || lost.includes(other) ||
      (this.#met.has(this.#pairOf(id, other)) && this.#met.has(this.#pairOf(other, id)))
    );
  }

  #pairOf(id: NodeId, other: NodeId): string {
    return `${this.node(id).directoryId} ${this.node(other).directoryId}`;
  }

  /** Crashes a node and takes its disk away; it starts again on an empty one. */
  wipe(id: NodeId): void {
    this.say(`fault node ${id}  crash disk=lost`);
    this.node(id).wipe();
    for (const group of this.groups) {
      const key = `${id}/${group}`;
      const seen = this.#seen.get(key);
      if (seen !== undefined) this.#lost.set(key, seen);
      this.#seen.delete(key);
    }
  }

  /** Runs until this time, looking at the cluster after every event. */
  runUntil(untilMs: number): void {
    this.runUntilTrue(untilMs - this.loop.nowMs, () => false);
  }

  /** Runs for this long. */
  run(durationMs: number): void {
    this.runUntil(this.loop.nowMs + durationMs);
  }

  /** Runs until the condition holds; false if it does not within `durationMs`. */
  runUntilTrue(durationMs: number, condition: () => boolean): boolean {
    const untilMs = this.loop.nowMs + durationMs;
    if (condition()) return true;
    while (this.loop.step(untilMs)) {
      this.#look();
      if (this.#violation !== undefined) throw this.#violation;
      if (condition()) return true;
    }
    return false;
  }

  /**
   * As `runUntilTrue`, and after each event what waits for promises goes on, if anything does: the
   * gateways' answers, and a process that stops in order. Everything else needs no promise.
   */
  async playUntilTrue(durationMs: number, condition: () => boolean): Promise<boolean> {
    const untilMs = this.loop.nowMs + durationMs;
    if (condition()) return true;
    while (this.loop.step(untilMs)) {
      this.#look();
      if (this.#violation !== undefined) throw this.#violation;
      // A turn of the real event loop: every promise that can go on has gone on by then.
      if (this.#promises > 0) await new Promise((resolve) => setImmediate(resolve));
      if (condition()) return true;
    }
    return false;
  }

  /** As `run`, with promises. */
  async play(durationMs: number): Promise<void> {
    await this.playUntilTrue(durationMs, () => false);
  }

  /** Somebody waits for a promise of a process, until they call the answer. */
  awaitPromise(): () => void {
    this.#promises++;
    let isOver = false;
    return () => {
      if (!isOver) this.#promises--;
      isOver = true;
    };
  }

  /** Highest index of the group that any node has known to be committed. */
  committed(group: GroupId): LogIndex {
    return this.#committedTerms(group).length;
  }

  /** Counts the snapshots that were taken, and those that were installed from a leader. */
  get snapshots(): { readonly taken: number; readonly installed: number } {
    const nodes = [...this.nodes.values()];
    return {
      taken: nodes.reduce((sum, node) => sum + node.snapshotsTaken, 0),
      installed: nodes.reduce((sum, node) => sum + node.snapshotsInstalled, 0),
    };
  }

  #committedTerms(group: GroupId): Term[] {
    let terms = this.#committed.get(group);
    if (terms === undefined) this.#committed.set(group, terms = []);
    return terms;
  }

  /** Term of an entry of a node's log, also of one that a snapshot covers. */
  #termAt({ core, group }: KvGroup, index: LogIndex): Term | undefined {
    const { log } = core.state;
    if (index === 0) return 0;
    if (index >= log.base.index) return log.termAt(index);
    return this.#committedTerms(group)[index - 1];
  }

  /** Tells the invariants a fact. */
  tell(observation: Observation): void {
    for (const invariant of this.invariants) {
      const text = invariant.observe(observation);
      if (text === undefined) continue;
      // Within a node's turn the runtime takes this error for a failure of the node, so it is kept.
      this.#violation ??= new InvariantViolation(invariant.name, text, this.loop.nowMs);
      throw this.#violation;
    }
  }

  #failed(id: NodeId, error: Error): void {
    this.failures.push({ node: id, error });
    this.say(`fault node ${id}  ended by itself: ${error.message}`);
    // Within the node's own turn: the process is gone once the turn has ended.
    this.loop.after(0, () => this.crash(id, { keepCache: true }));
  }

  #sent({ from, to }: Way, frame: Uint8Array, decode: () => WireMessage): void {
    this.#mix(from, to, crc32c(frame));
    if (!PROMISE_TAGS.includes(frame[FRAME_HEADER_BYTES + 1])) return;
    const message = decode();
    if (message.type === "RequestVoteReply" && message.granted) {
      const { group, term } = message;
      this.tell({ type: "vote", node: from, group, term, candidate: to });
    } else if (message.type === "AppendEntriesReply" && message.accepted) {
      this.#accepted(message, to);
    }
  }

  /** Tells of an acceptance while both are still in its term: nothing of either log can be replaced. */
  #accepted({ group, term, from, matchIndex }: AppendEntriesReply, to: NodeId): void {
    const own = this.host(from, group);
    const leader = this.host(to, group);
    if (own?.core.context.currentTerm !== term || leader?.core.context.currentTerm !== term) return;
    if (leader.core.role !== "leader") return;
    this.tell({
      type: "acceptance",
      node: from,
      group,
      leader: to,
      matchIndex,
      durableIndex: own.core.state.durableIndex,
      ownTerm: this.#termAt(own, matchIndex),
      leaderTerm: this.#termAt(leader, matchIndex),
    });
  }

  #mix(a: number, b: number, c: number): void {
    let hash = this.#traceHash ^ Math.imul(a * 31 + b + 1, 0x9e3779b1) ^ c;
    hash ^= Math.floor(this.loop.nowMs * 1000) | 0;
    this.#traceHash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  }

  /** Sees what every entry does when it is applied. */
  #watchStore(id: NodeId, host: KvGroup): void {
    const { machine: store, core, group } = host;
    const apply = store.apply.bind(store);
    store.apply = (entry) => {
      const { index, requests } = entry;
      const named = requests.map((request) => decodeCommand(request).once);
      const applied = apply(entry);
      const [run] = core.state.log.slice(index, index);
      const effects = applied.results.flatMap((result, at) => {
        const once = named[at];
        const tookEffect = result.status === "ok" && result.succeeded && result.replayed !== true;
        return once === undefined || !tookEffect ? [] : [onceText(once)];
      });
      this.tell({
        type: "apply",
        node: id,
        group,
        index,
        checksum: checksumOf(run!.bytes, 0),
        effects,
      });
      return applied;
    };
  }

  #recovered(id: NodeId, host: KvGroup): void {
    const { group, core } = host;
    const { log } = core.state;
    const promised = this.#seen.get(`${id}/${group}`)?.promised ?? noPromise();
    this.tell({
      type: "recovery",
      node: id,
      group,
      term: core.context.currentTerm,
      lastIndex: log.lastIndex,
      termAt: (index) => this.#termAt(host, index),
      promised,
    });
    this.#seen.set(`${id}/${group}`, {
      life: this.node(id).lives,
      role: core.role,
      term: core.context.currentTerm,
      votedFor: core.context.votedFor,
      commitIndex: 0,
      applied: 0,
      terms: [],
      promised: { ...promised, index: 0, entryTerm: 0 },
    });
  }

  /** Looks at what the last event changed: only the process that ran can have changed. */
  #look(): void {
    if (this.#ran === undefined) return;
    const id = this.#ran;
    this.#ran = undefined;
    for (const host of this.node(id).groups) this.#lookAt(id, host);
  }

  #lookAt(id: NodeId, host: KvGroup): void {
    const { core, group, machine: store } = host;
    const { state, context, role } = core;
    const seen = this.#seen.get(`${id}/${group}`);
    if (seen === undefined) return;
    const { currentTerm: term, votedFor } = context;
    if (
      state.log.lastIndex !== seen.terms.length || state.log.lastTerm !== (seen.terms.at(-1) ?? 0)
    ) {
      this.#lookAtLog(id, host, seen);
    }
    for (const progress of state.leadership?.progress.values() ?? []) {
      if (progress.inflightMessages > 0 && !progress.maySend) this.windowsFilled++;
    }
    const { durableIndex } = state;
    const durableTerm = state.log.termAt(durableIndex) ?? 0;
    if (durableIndex !== seen.promised.index || durableTerm !== seen.promised.entryTerm) {
      seen.promised.index = durableIndex;
      seen.promised.entryTerm = durableTerm;
    }
    if (state.isDurable(context)) seen.promised.term = term;
    if (
      role !== seen.role || term !== seen.term || votedFor !== seen.votedFor ||
      state.commitIndex !== seen.commitIndex
    ) {
      this.#lookAtState(id, host, seen);
    }
    if (store.lastApplied !== seen.applied) {
      seen.applied = store.lastApplied;
      this.tell({
        type: "store",
        node: id,
        group,
        index: store.lastApplied,
        stateHash: store.stateHash(),
      });
    }
  }

  #lookAtState(id: NodeId, host: KvGroup, seen: Seen): void {
    const { core, group } = host;
    const { context, role, state } = core;
    const { currentTerm: term, votedFor } = context;
    const { commitIndex, log } = state;
    const { life } = seen;
    const node = id;
    this.tell({ type: "state", node, group, life, role, term, votedFor, commitIndex });
    this.#mix(id, term, commitIndex);
    if (role === "leader" && (seen.role !== "leader" || seen.term !== term)) {
      const { lastIndex } = log;
      const termAt = (at: LogIndex): Term | undefined => this.#termAt(host, at);
      this.tell({ type: "leader", node, group, term, lastIndex, termAt });
    }
    const committed = this.#committedTerms(group);
    while (committed.length < commitIndex) committed.push(log.termAt(committed.length + 1)!);
    if (commitIndex > seen.commitIndex) {
      const [run] = log.slice(commitIndex, commitIndex);
      const entryTerm = log.termAt(commitIndex)!;
      this.tell({
        type: "commit",
        node,
        group,
        index: commitIndex,
        term: entryTerm,
        checksum: run === undefined ? 0 : checksumOf(run.bytes, 0),
        durableOn: this.#durableOn(group, commitIndex, entryTerm),
        voters: context.voters,
      });
    }
    Object.assign(seen, { role, term, votedFor, commitIndex });
  }

  /** Finds where the log differs from what it was, and tells every entry that is new. */
  #lookAtLog(id: NodeId, host: KvGroup, seen: Seen): void {
    const { group, core } = host;
    const { log } = core.state;
    const { terms } = seen;
    const { base } = log;
    let same = Math.min(terms.length, log.lastIndex);
    while (same > base.index && log.termAt(same) !== terms[same - 1]) same--;
    terms.length = same;
    if (same <= base.index) {
      const committed = this.#committedTerms(group);
      terms.splice(0, same, ...committed.slice(0, base.index));
      const committedTerm = committed[base.index - 1];
      if (base.index > 0) this.tell({ type: "snapshot", node: id, group, ...base, committedTerm });
    }
    for (const run of log.slice(terms.length + 1, log.lastIndex)) {
      let start = 0;
      run.ends.forEach((end, offset) => {
        const index = run.firstIndex + offset;
        const prevTerm = terms.at(-1) ?? 0;
        terms.push(run.term);
        const checksum = checksumOf(run.bytes, start);
        start = end;
        this.#mix(id, index, checksum);
        const { term } = run;
        this.tell({ type: "append", node: id, group, index, term, prevTerm, checksum });
      });
    }
  }

  /**
   * Nodes that said this entry to be durable, those that are down included.
   *
   * A node that has lost its disk counts for what it had said before, and never for what it says
   * since. For what it had said: an acceptance may be under way while its disk is lost, and the
   * leader is right to commit by it. The entry is safe all the same. No vote comes from that node
   * any more, so every later leader has the votes of a majority without it; that majority shares a
   * member with the one that accepted the entry, and it is another one, whose disk is there. Never
   * for what it says since: its new disk stands for a voter that is gone, and a commit that needs
   * it is the defect that the refusal of its hello is there to prevent.
   *
   * For the same reason a lost disk owes no promise when its node recovers (INV5); a disk that was
   * not taken away on purpose still does, whatever else happened to it. INV6 forgives nothing: a
   * vote of the new life in a term in which the old one voted is two votes.
   */
  #durableOn(group: GroupId, index: LogIndex, term: Term): NodeId[] {
    return this.ids.filter((id) => {
      const lost = this.#lost.get(`${id}/${group}`);
      if (lost !== undefined) return hadPromised(lost, { index, term });
      const seen = this.#seen.get(`${id}/${group}`);
      if (seen === undefined) return false;
      const host = this.host(id, group);
      // A running node may have promised within this very event.
      if (host !== undefined) {
        return host.core.state.durableIndex >= index && this.#termAt(host, index) === term;
      }
      return hadPromised(seen, { index, term });
    });
  }
}

/** Whether this error can only come from a planted fault of a disk. */
export function isDiskFault(error: unknown): error is DiskError {
  return error instanceof DiskError && (error.code === "no-space" || error.code === "io");
}

function hadPromised(
  { promised, terms }: Seen,
  { index, term }: { readonly index: LogIndex; readonly term: Term },
): boolean {
  return promised.index >= index && terms[index - 1] === term;
}

/** Names a command of a session. */
export function onceText(once: Once): string {
  return once.type === "session" ? `${once.clientId}#${once.sequence}` : `key ${once.key}`;
}

/** The CRC at the beginning of a record. */
function checksumOf(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>>
    0;
}

function noPromise(): Seen["promised"] {
  return { index: 0, entryTerm: 0, term: 0 };
}
