/**
 * Watches a simulated cluster: looks after every event at what it changed, tells the invariants, and
 * ends the run at the first that is broken.
 *
 * @module
 */
import type { KvGroup } from "../../actors/group.ts";
import type {
  AppendEntriesReply,
  GroupId,
  LogIndex,
  NodeId,
  Term,
} from "../../machines/raft_types.ts";
import { halvesOf } from "../../machines/quorum.ts";
import { decodeCommand } from "../../storage/kv/command.ts";
import type { Once } from "../../storage/kv/once.ts";
import { crc32c } from "../../storage/crc32c.ts";
import { recordFormat } from "../../storage/log/wal_record.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import { FRAME_HEADER_BYTES } from "../../transport/wire/limits.ts";
import type { WireMessage } from "../../transport/wire/messages.ts";
import type { EventLoop } from "./event_loop.ts";
import { CommittedIsDurable } from "./invariants/inv5_committed_is_durable.ts";
import { FreshReads } from "./invariants/inv12_fresh_reads.ts";
import { WholeWatches } from "./invariants/inv14_whole_watches.ts";
import { keysByRevision } from "./sim_watcher.ts";
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
import type { Way } from "./network.ts";
import type { Invariant, Observation } from "./observation.ts";
import type { SimNode } from "./sim_node.ts";

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

/** See the module. */
export class ClusterWatch {
  /** Events after which a leader's window to a follower was full. */
  windowsFilled = 0;
  readonly #invariants: readonly Invariant[] = [
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
    new WholeWatches(),
  ];
  readonly #loop: EventLoop;
  readonly #nodes: ReadonlyMap<NodeId, SimNode>;
  /** What was last seen, by node and group. */
  readonly #seen = new Map<string, Seen>();
  /** The same of the groups on disks that were lost. */
  readonly #lost = new Map<string, Seen>();
  /** The same of the groups whose logs were damaged, before that. */
  readonly #damaged = new Map<string, Seen>();
  #violation: InvariantViolation | undefined;
  /** Terms of the entries of each group that any node has known to be committed, index 1 first. */
  readonly #committed = new Map<GroupId, Term[]>();
  #traceHash = 0;
  /** The node whose process ran in the last event. */
  #ran: NodeId | undefined;

  /** Watches the nodes in the map, also those that are added later. */
  constructor(loop: EventLoop, nodes: ReadonlyMap<NodeId, SimNode>) {
    this.#loop = loop;
    this.#nodes = nodes;
  }

  /** A digest of everything that happened so far. */
  get traceHash(): string {
    return (this.#traceHash >>> 0).toString(16).padStart(8, "0");
  }

  /** Highest index of the group that any node has known to be committed. */
  committed(group: GroupId): LogIndex {
    return this.#committedTerms(group).length;
  }

  /** Tells the invariants a fact. */
  tell(observation: Observation): void {
    for (const invariant of this.#invariants) {
      const text = invariant.observe(observation);
      if (text === undefined) continue;
      // Within a node's turn the runtime takes this error for a failure of the node, so it is kept.
      this.#violation ??= new InvariantViolation(invariant.name, text, this.#loop.nowMs);
      throw this.#violation;
    }
  }

  /** A frame is sent. */
  sent({ from, to }: Way, frame: Uint8Array, decode: () => WireMessage): void {
    this.#mix(from, to, crc32c(frame));
    if (!PROMISE_TAGS.includes(frame[FRAME_HEADER_BYTES + 1])) return;
    const message = decode();
    if (message.type === "RequestVoteReply" && message.granted) {
      const { group, term } = message;
      const { generation } = this.#node(from);
      this.tell({ type: "vote", node: from, group, term, candidate: to, generation });
    } else if (message.type === "AppendEntriesReply" && message.accepted) {
      this.#accepted(message, to);
    }
  }

  /** Sees what every entry does when it is applied. */
  watchStore(id: NodeId, host: KvGroup): void {
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
      for (const [revision, keys] of keysByRevision(applied.changes)) {
        this.tell({ type: "changes", group, revision, keys });
      }
      return applied;
    };
  }

  /** Tells what a node has after its start, and begins to look at it anew. */
  recovered(id: NodeId, host: KvGroup): void {
    const { group, core } = host;
    const { log } = core.state;
    const key = `${id}/${group}`;
    const isRecovering = core.role === "recovering";
    // Whoever knows that it has lost its log owes nothing of it, until the log is restored.
    const promised = isRecovering ? noPromise() : this.#seen.get(key)?.promised ?? noPromise();
    if (!isRecovering) {
      // What was damaged was no part of what counts.
      this.#damaged.delete(key);
      this.#node(id).isDamaged = false;
    }
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
      life: this.#node(id).lives,
      role: core.role,
      term: core.context.currentTerm,
      votedFor: core.context.votedFor,
      commitIndex: 0,
      applied: 0,
      terms: [],
      promised: { ...promised, index: 0, entryTerm: 0 },
    });
  }

  /** A process of the node ran in this event. */
  ran(id: NodeId): void {
    this.#ran = id;
  }

  /**
   * Looks at what the last event changed: only the process that ran can have changed.
   *
   * @throws {InvariantViolation} If that, or anything since the last look, broke an invariant.
   */
  look(): void {
    const id = this.#ran;
    this.#ran = undefined;
    if (id !== undefined) { for (const host of this.#node(id).groups) this.#lookAt(id, host); }
    if (this.#violation !== undefined) throw this.#violation;
  }

  /** The node's log was damaged: what it had promised is remembered apart, until it has recovered. */
  logDamaged(id: NodeId, groups: readonly GroupId[]): void {
    for (const group of groups) {
      const key = `${id}/${group}`;
      const seen = this.#seen.get(key);
      if (seen !== undefined) this.#damaged.set(key, seen);
    }
  }

  /** The node's disk is lost: what it had promised is remembered apart. */
  diskLost(id: NodeId, groups: readonly GroupId[]): void {
    for (const group of groups) {
      const key = `${id}/${group}`;
      const seen = this.#seen.get(key);
      if (seen !== undefined) this.#lost.set(key, seen);
      this.#seen.delete(key);
    }
  }

  /** The cluster has taken the node's lost disk out: it owes nothing of what that had promised. */
  readmitted(id: NodeId, groups: readonly GroupId[]): void {
    for (const group of groups) this.#lost.delete(`${id}/${group}`);
  }

  /** Tells of an acceptance while both are still in its term: nothing of either log can be replaced. */
  #accepted({ group, term, from, matchIndex }: AppendEntriesReply, to: NodeId): void {
    const own = this.#host(from, group);
    const leader = this.#host(to, group);
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
    hash ^= Math.floor(this.#loop.nowMs * 1000) | 0;
    this.#traceHash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  }

  #lookAt(id: NodeId, host: KvGroup): void {
    const { core, group, machine: store } = host;
    const { state, context, role } = core;
    const seen = this.#seen.get(`${id}/${group}`);
    if (seen === undefined) return;
    const { currentTerm: term, votedFor } = context;
    const lastBefore = seen.terms.length;
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
      this.#lookAtState(id, host, { seen, lastBefore });
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

  /** `lastBefore` is where the log ended before the event. */
  #lookAtState(
    id: NodeId,
    host: KvGroup,
    { seen, lastBefore }: { readonly seen: Seen; readonly lastBefore: LogIndex },
  ): void {
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
        // Once one is committed, a leader may go on to the next in the same event.
        configs: role === "leader"
          ? [state.configs.at(lastBefore), context].map((voters) => halvesOf(voters))
          : [],
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
    return [...this.#nodes.keys()].filter((id) => {
      const lost = this.#lost.get(`${id}/${group}`);
      if (lost !== undefined && !this.#isReadmitted(id)) return hadPromised(lost, { index, term });
      // What it had acknowledged may be what its leader commits by; it will have it again (recovery.ts).
      const damaged = this.#damaged.get(`${id}/${group}`);
      if (damaged !== undefined && hadPromised(damaged, { index, term })) return true;
      const seen = this.#seen.get(`${id}/${group}`);
      if (seen === undefined) return false;
      const host = this.#host(id, group);
      // A running node may have promised within this very event.
      if (host !== undefined) {
        return host.core.state.durableIndex >= index && this.#termAt(host, index) === term;
      }
      return hadPromised(seen, { index, term });
    });
  }
  /** Whether the cluster has agreed that the node's lost disk is gone: then the one in its place counts. */
  #isReadmitted(id: NodeId): boolean {
    const lost = `node-${id}-disk-${this.#node(id).lostDisks}`;
    return [...this.#nodes.values()].some(({ groups }) =>
      groups.some(({ core: { state: { configs, commitIndex } } }) =>
        configs.at(commitIndex).removed.includes(lost)
      )
    );
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

  #node(id: NodeId): SimNode {
    return this.#nodes.get(id)!;
  }

  #host(id: NodeId, group: GroupId): KvGroup | undefined {
    return this.#node(id).process?.groups.get(group)?.host;
  }
}

function hadPromised(
  { promised, terms }: Seen,
  { index, term }: { readonly index: LogIndex; readonly term: Term },
): boolean {
  return promised.index >= index && terms[index - 1] === term;
}

/** Names a command of a session. */
function onceText(once: Once): string {
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
