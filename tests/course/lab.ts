/**
 * The tester of MIT 6.5840's Raft lab on the simulator: nodes that are cut off and come back, that
 * crash and restart, commands that are started at a leader and looked for in every log. Time is
 * virtual, and every invariant of the simulator is looked at after every event.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { KvAnswer } from "../../actors/group.ts";
import type { SnapshotTrigger } from "../../actors/machine_actor.ts";
import { DEFAULT_BOUNDS } from "../../machines/bounds.ts";
import type { LogIndex, NodeId, Term } from "../../machines/raft_types.ts";
import { decodeCommand, encodeCommand } from "../../storage/kv/command.ts";
import { unpackRequests } from "../../machines/request_batch.ts";
import { forEachEntry } from "../../storage/log/wal_record.ts";
import { SimCluster, type SimClusterOptions } from "../sim/cluster.ts";
import { GOOD_NETWORK, isRaft } from "../sim/network.ts";
import type { Dice } from "../sim/random.ts";
import { commandOf } from "../storage/kv/command_of.ts";

/** The course allows an election this long, more than twice our longest election timeout. */
export const ELECTION_MS = 1_000;
/** A command that has not been committed after this long is started again. */
const AGREEMENT_MS = 2_000;
/** A write that is under way ends by then. */
const APPEND_MS_MAX = 100;
/** A command that has found no leader, or no agreement, after this long never will. */
const AGREEMENT_MS_MAX = 30_000;
/** How long the leader is looked for, in tries of about half a second. */
const LEADER_TRIES_MAX = 10;
/** Pause before the nodes are asked again for who leads. */
const LEADER_PAUSE_MS = 50;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A course test; each seed is a run of its own. */
export interface CourseTest {
  readonly name: string;
  /** What it checks, in a few words. */
  readonly title: string;
  readonly nodes: number;
  /** How many seeds are run, unless the environment's COURSE_SEEDS says another number. */
  readonly seeds: number;
  /** Take a snapshot when so much was applied since the last, and keep nothing behind it in memory. */
  readonly snapshotAfter?: SnapshotTrigger;
}

/** A log with snapshots is cut into segments of this size. */
const SEGMENT_BYTES = 512;
/**
 * In memory nothing is kept behind a snapshot, and a snapshot is sent in several parts. The windows are
 * a node's: with drawn ones of one entry the clients' retries would fill the log faster than an
 * unreliable network empties it.
 */
const SNAPSHOT_BOUNDS = { ...DEFAULT_BOUNDS, trailingBytes: 0, snapshotPartBytesMax: 256 };

/** What a leader took. */
export interface Started {
  readonly node: NodeId;
  readonly index: LogIndex;
  readonly term: Term;
  readonly text: string;
}

/** Declares a course test; a failure names the seed. */
export function courseTest(test: CourseTest, play: (lab: Lab) => void): void {
  Deno.test(`${test.name}: ${test.title}`, () => {
    const seeds = Number(Deno.env.get("COURSE_SEEDS") ?? test.seeds);
    for (let seed = 1; seed <= seeds; seed++) {
      const lab = new Lab(seed, test);
      try {
        play(lab);
        assertEquals(lab.cluster.failures, []);
      } catch (cause) {
        const { message } = cause as Error;
        throw new Error(`${test.name} fails with seed ${seed}: ${message}`, { cause });
      }
    }
  });
}

/** A cluster as the course's tests talk to it. */
export class Lab {
  readonly cluster: SimCluster;
  /** Requests sent so far, answers not counted: what the course calls RPCs. */
  rpcs = 0;
  /** AppendEntries that were refused for an inconsistent log. */
  refusals = 0;
  readonly #away = new Set<NodeId>();
  /** What a node had applied at an index while its log still held it. */
  readonly #remembered = new Map<LogIndex, string>();

  /** Starts every node. */
  constructor(seed: number, { nodes, snapshotAfter }: Pick<CourseTest, "nodes" | "snapshotAfter">) {
    const small: Partial<SimClusterOptions> = snapshotAfter === undefined
      ? {}
      : { snapshotAfter, segmentBytes: SEGMENT_BYTES, bounds: SNAPSHOT_BOUNDS };
    this.cluster = new SimCluster({ seed, nodes, ...small });
    const { network } = this.cluster;
    const { onSend } = network;
    network.onSend = (way, frame, decode) => {
      onSend(way, frame, decode);
      const message = decode();
      if (!isRaft(message)) return;
      if (!message.type.endsWith("Reply")) this.rpcs++;
      if (message.type === "AppendEntriesReply" && !message.accepted) this.refusals++;
    };
    this.cluster.startAll();
  }

  /** The run's chance. */
  get dice(): Dice {
    return this.cluster.dice;
  }

  /** Ids of all nodes. */
  get ids(): readonly NodeId[] {
    return this.cluster.ids;
  }

  /** Ids of the nodes that run and are connected. */
  get connected(): readonly NodeId[] {
    return this.ids.filter((id) => this.isConnected(id) && this.isUp(id));
  }

  /** The id that comes `steps` after another, round and round. */
  after(id: NodeId, steps: number): NodeId {
    return (id - 1 + steps) % this.ids.length + 1;
  }

  /** Whether the node's links are whole. */
  isConnected(id: NodeId): boolean {
    return !this.#away.has(id);
  }

  /** Whether a process of the node runs. */
  isUp(id: NodeId): boolean {
    return this.cluster.node(id).running;
  }

  /** Cuts nodes off from everybody, from each other too. */
  disconnect(...ids: readonly NodeId[]): void {
    for (const id of ids) this.#away.add(id);
    this.#wire();
  }

  /** Links nodes with all others that are connected, and ends a partition. */
  connect(...ids: readonly NodeId[]): void {
    for (const id of ids) this.#away.delete(id);
    this.#wire();
  }

  /** Nodes reach those on their own side only, until `connect`. */
  partition(...sides: readonly (readonly NodeId[])[]): void {
    this.#wire();
    this.cluster.network.partition(...sides);
  }

  /** Kills nodes; what they had not synced may be lost. */
  shutDown(...ids: readonly NodeId[]): void {
    for (const id of ids) this.cluster.crash(id, { keepCache: this.dice.chance(0.5) });
  }

  /** Starts nodes from their disks. */
  restart(...ids: readonly NodeId[]): void {
    for (const id of ids) this.cluster.start(id);
  }

  /** Loses a tenth of what is sent, so that it comes later, and delays the rest. */
  setReliable(isReliable: boolean): void {
    const { network } = this.cluster;
    network.quality = isReliable
      ? { ...GOOD_NETWORK }
      : { loss: 0.1, duplication: 0, delayMsMin: 0.1, delayMsMean: 13 };
  }

  /** Keeps two answers of three back 0.2 to 2.2 seconds, so that they are sent in any order. */
  setLongReordering(isOn: boolean): void {
    this.cluster.network.holdBackMs = (message) =>
      isOn && message.type.endsWith("Reply") && this.dice.chance(2 / 3)
        ? 200 + this.dice.next() * this.dice.next() * 2_000
        : 0;
  }

  /** Lets virtual time pass. */
  sleep(durationMs: number): void {
    this.cluster.run(durationMs);
  }

  /** The term of a running node. */
  termOf(id: NodeId): Term {
    return this.cluster.host(id)!.core.context.currentTerm;
  }

  /** The leader of the highest term among the connected; fails if a term has two, or nobody leads for long. */
  checkOneLeader(): NodeId {
    for (let tries = 0; tries < LEADER_TRIES_MAX; tries++) {
      this.sleep(this.dice.between(450, 550));
      const byTerm = new Map<Term, NodeId>();
      for (const id of this.#leaders()) {
        const term = this.termOf(id);
        assert(!byTerm.has(term), `nodes ${byTerm.get(term)} and ${id} both lead term ${term}`);
        byTerm.set(term, id);
      }
      if (byTerm.size > 0) return byTerm.get(Math.max(...byTerm.keys()))!;
    }
    throw new Error(`Cannot find a leader among ${this.connected}`);
  }

  /** Fails if a connected node leads. */
  checkNoLeader(): void {
    assertEquals(this.#leaders(), [], "somebody leads without a majority");
  }

  /** The term of all connected nodes; fails if they differ. */
  checkTerms(): Term {
    const terms = new Set(this.connected.map((id) => this.termOf(id)));
    assertEquals(terms.size, 1, `terms differ: ${[...terms]}`);
    return [...terms][0]!;
  }

  /**
   * How many nodes have applied an index, and what it holds; fails if they differ. A node whose log has
   * forgotten the index says nothing of what it was.
   */
  committed(index: LogIndex): { readonly count: number; readonly text: string | undefined } {
    let count = 0;
    for (const id of this.ids) {
      const host = this.cluster.host(id);
      if (host === undefined || host.machine.lastApplied < index) continue;
      count++;
      const { log, commitIndex } = host.core.state;
      // Where a snapshot from the leader is being installed, the machine is ahead of the log.
      if (index <= log.base.index || index > commitIndex) continue;
      const own = this.textAt(id, index);
      const text = this.#remembered.get(index);
      if (text === undefined) this.#remembered.set(index, own);
      else assertEquals(own, text, `nodes differ at index ${index}`);
    }
    return { count, text: this.#remembered.get(index) };
  }

  /** Bytes of the largest log on a disk, and the most entries in a log in memory. */
  logSizes(): { readonly diskBytes: number; readonly entries: number } {
    let [diskBytes, entries] = [0, 0];
    for (const id of this.ids) {
      const { disk } = this.cluster.node(id);
      const sizes = disk.list("wal").map((name) => disk.sizeOf(`wal/${name}`));
      diskBytes = Math.max(diskBytes, sizes.reduce((sum, size) => sum + size, 0));
      const log = this.cluster.host(id)?.core.state.log;
      if (log !== undefined) entries = Math.max(entries, log.lastIndex - log.base.index);
    }
    return { diskBytes, entries };
  }

  /** Bytes of the largest snapshot on a disk. */
  snapshotBytes(): number {
    let bytes = 0;
    for (const id of this.ids) {
      const { disk } = this.cluster.node(id);
      for (const name of disk.exists("snapshots") ? disk.list("snapshots") : []) {
        bytes = Math.max(bytes, disk.sizeOf(`snapshots/${name}`));
      }
    }
    return bytes;
  }

  /** Fails if any node has applied one of these commands. */
  checkNoAgreement(...texts: readonly string[]): void {
    for (const id of this.ids) {
      const applied = this.#appliedTexts(id);
      for (const text of texts) assert(!applied.includes(text), `node ${id} applied ${text}`);
    }
  }

  /** All commands a node has applied, in order. */
  #appliedTexts(id: NodeId): string[] {
    const { lastApplied } = this.cluster.host(id)?.machine ?? { lastApplied: 0 };
    const texts: string[] = [];
    for (let index = 1; index <= lastApplied; index++) texts.push(...this.textsAt(id, index));
    return texts;
  }

  /** The command at an index of a running node's log; "" for what is no command or not there. */
  textAt(id: NodeId, index: LogIndex): string {
    return this.textsAt(id, index)[0] ?? "";
  }

  /** The commands at an index of a running node's log: those that one turn of a leader found. */
  textsAt(id: NodeId, index: LogIndex): string[] {
    const texts: string[] = [];
    for (const run of this.cluster.host(id)!.core.state.log.slice(index, index)) {
      forEachEntry(run, (_index, _timeMs, kind, payload) => {
        for (const request of kind === "command" ? unpackRequests(payload) : []) {
          for (const operation of decodeCommand(request).success) {
            if (operation.type === "put") texts.push(decoder.decode(operation.value));
          }
        }
      });
    }
    return texts;
  }

  /** Proposes at a node, which answers once the command's fate is known. */
  propose(id: NodeId, text: string, done: (answer: KvAnswer | undefined) => void): void {
    const payload = encodeCommand(
      commandOf({ type: "put", key: "k", value: encoder.encode(text) }),
    );
    const host = this.cluster.host(id);
    if (host === undefined) return done(undefined);
    host.raft.ask({ type: "Propose", payload }, { timeoutMs: AGREEMENT_MS_MAX }, (outcome) => {
      done(outcome.ok ? outcome.value : undefined);
    });
  }

  /** Starts a command at a node; undefined if the node does not run or does not lead. */
  start(id: NodeId, text: string): Started | undefined {
    const host = this.cluster.host(id);
    if (host === undefined) return undefined;
    const before = host.core.state.log.lastIndex;
    let isRefused = false;
    this.propose(id, text, (answer) => isRefused = answer?.status === "refused");
    let started: Started | undefined;
    // The node's turn, or the end of the write that is under way: commands wait for it together.
    this.cluster.runUntilTrue(APPEND_MS_MAX, () => {
      const { log } = host.core.state;
      for (let index = log.lastIndex; index > before && started === undefined; index--) {
        if (this.textAt(id, index) !== text) continue;
        started = { node: id, index, term: log.termAt(index)!, text };
      }
      return isRefused || started !== undefined || this.cluster.host(id) !== host;
    });
    return started;
  }

  /** Starts a command at a node that must lead. */
  mustStart(id: NodeId, text: string): Started {
    const started = this.start(id, text);
    assert(started !== undefined, `node ${id} refused ${text}`);
    return started;
  }

  /** Gets a command committed by at least so many nodes; the index at which it is. */
  one(text: string, servers: number, retry: "retry" | "once" = "retry"): LogIndex {
    return this.all([text], servers, retry)[0]!;
  }

  /**
   * Gets commands committed that are started at the same time. "retry": whoever leads may change,
   * and what was not committed is started anew; "once": what a leader took must be committed.
   */
  all(texts: readonly string[], servers: number, retry: "retry" | "once" = "retry"): LogIndex[] {
    const deadlineMs = this.cluster.loop.nowMs + AGREEMENT_MS_MAX;
    const open = new Map<string, Started | undefined>(texts.map((text) => [text, undefined]));
    const indexes = new Map<string, LogIndex>();
    while (this.cluster.loop.nowMs < deadlineMs) {
      for (const text of open.keys()) open.set(text, this.#startAnywhere(text));
      if ([...open.values()].every((started) => started === undefined)) {
        this.sleep(LEADER_PAUSE_MS);
        continue;
      }
      this.cluster.runUntilTrue(AGREEMENT_MS, () => {
        for (const [text, started] of open) {
          if (started === undefined) continue;
          const { count, text: found } = this.committed(started.index);
          if (count < servers || found !== text) continue;
          indexes.set(text, started.index);
          open.delete(text);
        }
        return open.size === 0;
      });
      if (open.size === 0) return texts.map((text) => indexes.get(text)!);
      assert(retry === "retry", `no agreement on ${[...open.keys()]}`);
    }
    throw new Error(`Cannot reach agreement on ${[...open.keys()]}`);
  }

  /** Waits until so many nodes have applied an index. */
  wait(index: LogIndex, servers: number): void {
    const isApplied = (): boolean => this.committed(index).count >= servers;
    assert(
      this.cluster.runUntilTrue(AGREEMENT_MS_MAX, isApplied),
      `index ${index} was applied by ${this.committed(index).count} nodes only`,
    );
  }

  #startAnywhere(text: string): Started | undefined {
    for (const id of this.#leaders()) {
      const started = this.start(id, text);
      if (started !== undefined) return started;
    }
    return undefined;
  }

  #leaders(): NodeId[] {
    return this.connected.filter((id) => this.cluster.host(id)!.core.role === "leader");
  }

  #wire(): void {
    const { network } = this.cluster;
    network.heal();
    for (const id of this.#away) {
      for (const other of this.ids) if (other !== id) network.cutBoth(id, other);
    }
  }
}
