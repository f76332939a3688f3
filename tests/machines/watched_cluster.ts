/**
 * A cluster of bare cores under watch: what must hold is checked against a small model of its own,
 * which knows of the protocol only what a client and a disk can see.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { ProposeOutcome } from "../../machines/group_state.ts";
import { majority } from "../../machines/quorum.ts";
import type { LogIndex, NodeId, Term } from "../../machines/raft_types.ts";
import { unpackRequests } from "../../machines/request_batch.ts";
import { forEachEntry } from "../../storage/log/wal_record.ts";
import { type ClusterOptions, CoreCluster } from "./core_cluster.ts";

interface Entry {
  readonly term: Term;
  readonly text: string;
}

/** A committed entry, and the lowest term of a node that was seen to know it as committed. */
interface Committed extends Entry {
  readonly byTerm: Term;
}

interface Proposal {
  readonly node: NodeId;
  readonly life: number;
  readonly term: Term;
  readonly index: LogIndex;
  readonly text: string;
}

/** A cluster, what its clients did, and what they were told. */
export class WatchedCluster {
  readonly cluster: CoreCluster;
  readonly ids: readonly NodeId[];
  /** Every entry that any node ever called committed, in order. */
  readonly ledger: Committed[] = [];
  /** Texts that clients were told are written, and at which index. */
  readonly acknowledged: Map<string, LogIndex> = new Map();
  readonly #voters: readonly NodeId[];
  readonly #leaders: Map<Term, NodeId> = new Map();
  readonly #votes: Map<string, NodeId> = new Map();
  /** What a leader called committed when it was first seen to lead. */
  readonly #commits: Map<string, LogIndex> = new Map();
  readonly #proposals: Proposal[] = [];
  /** How much was committed when a read was asked for. */
  readonly #reads: Map<number, LogIndex> = new Map();
  /** Which run of a node's process this is. */
  readonly #lives: Map<NodeId, number> = new Map();
  #texts = 0;
  #readId = 0;
  #readsServed = 0;

  constructor(options: ClusterOptions) {
    this.cluster = new CoreCluster(options);
    this.ids = [...this.cluster.nodes.keys()];
    this.#voters = options.voters;
  }

  /** Reads that were answered so far. */
  get readsServed(): number {
    return this.#readsServed;
  }

  /** A client proposes a text that nobody has proposed before. */
  propose(id: NodeId, text: string = `w${++this.#texts}`): ProposeOutcome {
    const outcome = this.cluster.propose(id, text);
    if (!outcome.accepted) return outcome;
    const { term, firstIndex: index } = outcome;
    this.#proposals.push({ node: id, life: this.#lives.get(id) ?? 0, term, index, text });
    return outcome;
  }

  /** A client reads. */
  read(id: NodeId): void {
    const readId = ++this.#readId;
    this.#reads.set(readId, this.ledger.length);
    this.cluster.turn(id, (core) => core.read([readId]));
  }

  /** The node's process ends. */
  crash(id: NodeId): void {
    this.#lives.set(id, (this.#lives.get(id) ?? 0) + 1);
    this.cluster.crash(id);
  }

  /** Delivers the message at a place of those under way, unless it is lost by now. */
  deliver(at: number): void {
    const [envelope] = this.cluster.inFlight.splice(at, 1);
    if (envelope !== undefined && !this.cluster.isLost(envelope)) this.cluster.deliver(envelope);
  }

  /** Delivers what is under way in order, at most `count` messages. */
  deliverSome(count: number): void {
    for (let left = count; left > 0 && this.cluster.inFlight.length > 0; left--) this.deliver(0);
  }

  /** Delivers all that is under way to a node in one turn. */
  deliverBatch(id: NodeId): void {
    const { cluster } = this;
    const batch = cluster.inFlight.filter((envelope) => envelope.to === id);
    cluster.inFlight = cluster.inFlight.filter((envelope) => envelope.to !== id);
    cluster.turn(id, (core) => {
      for (const envelope of batch) if (!cluster.isLost(envelope)) core.receive(envelope.message);
    });
  }

  /** Throws if anything is not as it must be. */
  check(): void {
    const running = this.ids.filter((id) => this.cluster.node(id).running);
    const logs = new Map(running.map((id) => [id, this.#entriesOf(id)]));
    this.#checkElectionSafety(running);
    this.#checkVotes();
    this.#checkStateMachineSafety(logs);
    this.#checkLogMatching([...logs.values()]);
    this.#checkLeaderCompleteness(logs);
    this.#checkCommitRule(running);
    this.#checkDurability(running);
    this.#acknowledge();
    this.#checkReads();
  }

  /** Fig. 3: "at most one leader can be elected in a given term". */
  #checkElectionSafety(running: readonly NodeId[]): void {
    for (const id of running) {
      const { role, context } = this.cluster.core(id);
      if (role !== "leader") continue;
      const leader = this.#leaders.get(context.currentTerm) ?? id;
      this.#leaders.set(context.currentTerm, leader);
      assertEquals(id, leader, `two leaders in term ${context.currentTerm}`);
    }
  }

  /** Fig. 2: votedFor is durable, so nobody votes for two in a term. */
  #checkVotes(): void {
    for (const id of this.ids) {
      const { currentTerm, votedFor } = this.cluster.node(id).disk.hardState;
      if (votedFor === undefined) continue;
      const key = `${id} in term ${currentTerm}`;
      const first = this.#votes.get(key) ?? votedFor;
      this.#votes.set(key, first);
      assertEquals(votedFor, first, `two votes of node ${key}`);
    }
  }

  /** Fig. 3: no two nodes ever apply different entries at an index. */
  #checkStateMachineSafety(logs: ReadonlyMap<NodeId, readonly Entry[]>): void {
    for (const [id, entries] of logs) {
      const { context, state } = this.cluster.core(id);
      const { commitIndex } = state;
      assert(commitIndex <= entries.length, `node ${id} committed what it does not have`);
      for (let at = 0; at < commitIndex; at++) {
        const { term, text } = entries[at]!;
        const known = this.ledger[at];
        if (known === undefined) this.ledger.push({ term, text, byTerm: context.currentTerm });
        else if (known.term !== term || known.text !== text) {
          assertEquals({ term, text }, { term: known.term, text: known.text }, `index ${at + 1}`);
        }
      }
    }
  }

  /** Fig. 3: equal index and term mean equal logs up to there. */
  #checkLogMatching(logs: readonly (readonly Entry[])[]): void {
    for (const one of logs) {
      for (const other of logs) {
        if (one === other) continue;
        let at = Math.min(one.length, other.length) - 1;
        while (at >= 0 && one[at]!.term !== other[at]!.term) at--;
        for (; at >= 0; at--) {
          const same = one[at]!.term === other[at]!.term && one[at]!.text === other[at]!.text;
          assert(same, `logs differ at index ${at + 1}, below an entry that both have`);
        }
      }
    }
  }

  /** Fig. 3: what is committed in a term is in the logs of the leaders of all later terms. */
  #checkLeaderCompleteness(logs: ReadonlyMap<NodeId, readonly Entry[]>): void {
    for (const [id, entries] of logs) {
      const { role, context } = this.cluster.core(id);
      if (role !== "leader") continue;
      this.ledger.forEach(({ byTerm, term }, at) => {
        if (byTerm >= context.currentTerm) return;
        assertEquals(entries[at]?.term, term, `leader ${id} lacks committed index ${at + 1}`);
      });
    }
  }

  /** "Only log entries from the leader's current term are committed by counting replicas" (s5.4.2). */
  #checkCommitRule(running: readonly NodeId[]): void {
    for (const id of running) {
      const { role, context, state } = this.cluster.core(id);
      if (role !== "leader") continue;
      const { commitIndex, log } = state;
      const key = `${id} in term ${context.currentTerm}`;
      const before = this.#commits.get(key) ?? commitIndex;
      this.#commits.set(key, before);
      assert(
        commitIndex === before || log.termAt(commitIndex) === context.currentTerm,
        `leader ${key} commits an entry of term ${log.termAt(commitIndex)} by counting`,
      );
    }
  }

  /**
   * What is committed is on the disks of a majority of the voters, and nobody believes its disk has
   * more.
   */
  #checkDurability(running: readonly NodeId[]): void {
    const disks = new Map(this.ids.map((id) => [
      id,
      this.cluster.node(id).disk.runs.flatMap(({ term, ends }) => ends.map(() => term)),
    ]));
    this.ledger.forEach(({ term }, at) => {
      const holders = this.#voters.filter((id) => disks.get(id)![at] === term);
      assert(
        holders.length >= majority(this.#voters.length),
        `committed index ${at + 1} is on the disks of ${holders}`,
      );
    });
    for (const id of running) {
      const { durableIndex, log } = this.cluster.core(id).state;
      const claimed = log.termAt(durableIndex);
      const actual = durableIndex === 0 ? 0 : disks.get(id)![durableIndex - 1];
      assertEquals(actual, claimed, `node ${id} believes index ${durableIndex} to be durable`);
    }
  }

  /** Tells clients what their own node has committed; that must stay. */
  #acknowledge(): void {
    for (let at = this.#proposals.length - 1; at >= 0; at--) {
      const { node, life, term, index, text } = this.#proposals[at]!;
      if (life !== (this.#lives.get(node) ?? 0)) this.#proposals.splice(at, 1);
      else if (this.cluster.core(node).state.commitIndex >= index) {
        this.#proposals.splice(at, 1);
        if (this.cluster.core(node).state.log.termAt(index) === term) {
          this.acknowledged.set(text, index);
        }
      }
    }
    for (const [text, index] of this.acknowledged) {
      assertEquals(this.ledger[index - 1]?.text, text, `acknowledged write at ${index} is lost`);
    }
  }

  /** A read sees all that was committed when it was asked for. */
  #checkReads(): void {
    for (const [id, node] of this.cluster.nodes) {
      for (const { readIndex, readIds } of node.readsReady.splice(0)) {
        for (const readId of readIds) {
          const floor = this.#reads.get(readId);
          assert(floor !== undefined, `read ${readId} of node ${id} was answered twice`);
          this.#reads.delete(readId);
          this.#readsServed++;
          assert(
            readIndex >= floor,
            `stale read at node ${id}: index ${readIndex}, but ${floor} was committed before`,
          );
        }
      }
      for (const readId of node.readsRefused.splice(0)) this.#reads.delete(readId);
    }
  }

  #entriesOf(id: NodeId): Entry[] {
    const { log } = this.cluster.core(id).state;
    const entries: Entry[] = [];
    for (const run of log.slice(1, log.lastIndex)) {
      forEachEntry(run, (_index, _timeMs, kind, payload) => {
        const [request] = kind === "command" ? unpackRequests(payload) : [payload];
        entries.push({ term: run.term, text: String.fromCharCode(...request!) });
      });
    }
    return entries;
  }
}
