/**
 * A simulated cluster: nodes and the network between them, on virtual time and under watch.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { DEFAULT_BOUNDS, type ReplicationBounds } from "../../machines/bounds.ts";
import type { KvGroup } from "../../actors/group.ts";
import { MemberRemovedError } from "../../actors/members.ts";
import {
  CLUSTER_VERSIONS,
  ClusterVersionError,
  foundingConfig,
  type PlacedConfig,
  storedMembersOf,
} from "../../machines/group_config.ts";
import type { MembershipChange } from "../../machines/membership_change.ts";
import type { HostPort } from "../../transport/wire/network.ts";
import type { SnapshotTrigger } from "../../actors/machine_actor.ts";
import { DEFAULT_TIMING, type RaftTiming } from "../../machines/group_state.ts";
import type { GroupId, LogIndex, NodeId } from "../../machines/raft_types.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { ClusterWatch } from "./cluster_watch.ts";
import { EventLoop } from "./event_loop.ts";
import { type NetworkTraits, SimNetwork } from "./network.ts";
import type { Observation } from "./observation.ts";
import { describeDisk, describeFate } from "./play.ts";
import { Dice } from "./random.ts";
import { SimNode, type SimNodeOptions } from "./sim_node.ts";

/** What a run is made from, besides its faults and its workload. */
export interface SimClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly groups?: readonly GroupId[];
  /** Let the seed decide timeouts and what the network holds and cuts; else they are the usual. */
  readonly isDrawn?: boolean;
  /** When nodes take snapshots. Default: as the seed says if it is drawn, else the usual. */
  readonly snapshotAfter?: SnapshotTrigger;
  /** Bounds that the seed does not decide. */
  readonly bounds?: Partial<ReplicationBounds>;
  /** Default: as the seed says. */
  readonly segmentBytes?: number;
  /** The build of every node's first start; default 1, or as the seed says if it is drawn. */
  readonly build?: number;
  /** Collect the run as a play. */
  readonly transcript?: boolean;
}

/** A change of the members is given up after this long; it may be made all the same. */
const CHANGE_MS_MAX = 5_000;

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

/** Nothing is compressed, what is large, or everything; and half of the nodes are a release behind. */
function drawRelease(dice: Dice): Pick<SimNodeOptions, "compression" | "isBehind"> {
  const bytesMin = (): number => dice.chance(0.2) ? Infinity : 128 << dice.below(7);
  return {
    compression: {
      ...{ logBytesMin: bytesMin(), logSyncMsMin: dice.chance(0.5) ? 0 : 1 },
      frameBytesMin: bytesMin(),
      frameWaitBytesMin: dice.chance(0.5) ? 0 : 1024 << dice.below(6),
    },
    isBehind: dice.chance(0.5),
  };
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
  /** Why processes ended by themselves. */
  readonly failures: { readonly node: NodeId; readonly error: Error }[] = [];
  readonly #options: SimClusterOptions;
  readonly #watch: ClusterWatch;
  readonly #founding: ReadonlyMap<NodeId, HostPort>;
  #members: PlacedConfig;
  /** Nodes that the cluster has removed, and that have ended. */
  readonly #removed = new Set<NodeId>();
  /** Changes of the members that were made. */
  membersChanged = 0;
  /** Directories of nodes that have each taken the other's: "mine theirs". */
  readonly #met = new Set<string>();
  /** Promises of processes that somebody waits for. */
  #promises = 0;

  constructor(options: SimClusterOptions) {
    this.#options = options;
    this.groups = options.groups ?? [0];
    this.dice = new Dice(options.seed);
    const isDrawn = options.isDrawn === true;
    this.timing = isDrawn ? drawTiming(this.dice) : DEFAULT_TIMING;
    const traits = isDrawn ? drawTraits(this.dice) : undefined;
    this.network = new SimNetwork(this.loop, this.dice, traits);
    this.#watch = new ClusterWatch(this.loop, this.nodes);
    if (options.transcript === true) {
      this.network.onFate = (fate, way, message) =>
        this.say(() => describeFate(fate, way, message));
    }
    this.network.onSend = (way, frame, message) => this.#watch.sent(way, frame, message);
    const ids = Array.from({ length: options.nodes }, (_, offset) => offset + 1);
    this.#founding = new Map(ids.map((id) => [id, SimNetwork.addressOf(id)]));
    this.#members = { index: 0, config: foundingConfig({ voters: ids }) };
    const build = options.build ??
      (isDrawn && this.dice.chance(0.75) ? CLUSTER_VERSIONS.max : 1);
    for (const id of ids) this.#addNode(id, { build });
  }

  #addNode(id: NodeId, first: Pick<SimNodeOptions, "build" | "joined">): void {
    const options = this.#options;
    const isDrawn = options.isDrawn === true;
    const node = new SimNode({
      id,
      ...first,
      groups: this.groups,
      members: this.#founding,
      timing: this.timing,
      bounds: { ...drawBounds(this.dice), ...options.bounds },
      loop: this.loop,
      dice: this.dice,
      tornPartBytes: this.dice.chance(0.5) ? 512 : 4096,
      segmentBytes: options.segmentBytes ??
        SEGMENT_BYTES_MIN << this.dice.below(SEGMENT_DOUBLINGS),
      ...(isDrawn ? { snapshotAfter: drawTrigger(this.dice), ...drawRelease(this.dice) } : {}),
      ...(options.snapshotAfter === undefined ? {} : { snapshotAfter: options.snapshotAfter }),
      network: this.network,
      log: (level, event, fields) => {
        const words = Object.entries(fields).filter(([, value]) => value !== undefined)
          .map(([name, value]) => ` ${name}=${value}`).join("");
        this.say(`${level.padEnd(5)} node ${id}  ${event}${words}`);
      },
      onFailed: (error) => this.#failed(id, error),
      onGroup: (host) => this.#watch.watchStore(id, host),
      onDisk: (operation, failed) => this.say(() => describeDisk(id, operation, failed)),
      onRan: (ran) => this.#watch.ran(ran),
      onLink: (id, peer, link) => {
        if (link === "up") this.#met.add(this.#pairOf(id, peer));
      },
    });
    this.nodes.set(id, node);
  }

  /** Ids of all nodes but those that were removed. */
  get ids(): NodeId[] {
    return [...this.nodes.keys()].filter((id) => !this.#removed.has(id));
  }

  /**
   * The newest configuration that a node has known to be committed; that of the founding if none has. It is
   * kept: those who know it may all be down, or have the next one in force that nobody has committed yet.
   */
  get members(): PlacedConfig {
    let newest = this.#members;
    for (const id of this.nodes.keys()) {
      const state = this.host(id)?.core.state;
      if (state === undefined) continue;
      const index = Math.min(state.configs.current.index, state.commitIndex);
      const { current } = state.configs;
      if (current.index <= index && current.index > newest.index) newest = current;
    }
    this.#members = newest;
    return newest;
  }

  /** Asks the leader to change the members; who is a member then, and is not there yet, is started. */
  changeMembers(change: MembershipChange): void {
    const leader = this.leader();
    const host = leader === undefined ? undefined : this.host(leader);
    host?.raft.ask(
      { type: "ChangeMembers", change, force: false, dryRun: false },
      { timeoutMs: CHANGE_MS_MAX },
      (outcome) => {
        const isMade = outcome.ok && outcome.value.status === "members" && outcome.value.accepted;
        if (isMade) this.membersChanged++;
        this.say(() => `fault cluster members ${JSON.stringify(change)} made=${isMade}`);
        this.loop.after(0, () => this.letJoin());
      },
    );
  }

  /** Starts the members that are not there yet. */
  letJoin(): void {
    const { config } = this.members;
    if (config.outgoing.length > 0) return;
    const joined = storedMembersOf(this.members);
    for (const id of config.learners.filter((learner) => !this.nodes.has(learner))) {
      const build = Math.max(...this.ids.map((other) => this.node(other).build));
      this.#addNode(id, { build, joined });
      this.start(id);
    }
  }

  /**
   * Once the cluster has agreed that a lost disk is out, its node owes nothing of what that had promised,
   * and the next disk counts: the one that it has by then, or another empty one with which it joins.
   */
  #noteTakenOut(): void {
    const { lost } = this;
    if (lost.length === 0) return;
    const { members } = this;
    const { config } = members;
    if (config.outgoing.length > 0) return;
    for (const id of lost) {
      const node = this.node(id);
      const isMember = config.members.some((member) => member.id === id);
      if (!isMember || !config.removed.includes(node.lostDirectoryId)) continue;
      // An empty disk more would be another loss to those who have met the one that is there.
      const isMet = this.ids.some((other) => this.#met.has(this.#pairOf(other, id)));
      this.say(`fault node ${id}  joins again, ${isMet ? "as it is" : "with an empty disk"}`);
      if (isMet) node.stay();
      else {
        node.rejoin(storedMembersOf(members));
        this.#watch.diskLost(id, this.groups);
      }
      this.#watch.readmitted(id, this.groups);
      this.start(id);
    }
  }

  /** A digest of everything that happened so far. */
  get traceHash(): string {
    return this.#watch.traceHash;
  }

  /** Events after which a leader's window to a follower was full. */
  get windowsFilled(): number {
    return this.#watch.windowsFilled;
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
    for (const host of node.groups) this.#watch.recovered(id, host);
    this.#watch.ran(id);
    this.#watch.look();
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
    const { ids, lost, members: { config: { voters, outgoing } } } = this;
    if (this.damaged.length > 0 || outgoing.length > 0) return false;
    const left = voters.filter((voter) => voter !== id && !lost.includes(voter));
    // With the list of the founding and empty disks a majority of that list founds a cluster again, whoever
    // the members are by now: that is a limit, too.
    const founders = [...this.#founding.keys()];
    const gone = founders.filter((founder) => founder === id || lost.includes(founder));
    if (2 * gone.length > founders.length) return false;
    if (lost.includes(id) || !voters.includes(id) || 2 * left.length <= voters.length) return false;
    return ids.every((other) =>
      other === id || lost.includes(other) ||
      (this.#met.has(this.#pairOf(id, other)) && this.#met.has(this.#pairOf(other, id)))
    );
  }

  #pairOf(id: NodeId, other: NodeId): string {
    return `${this.node(id).directoryId} ${this.node(other).directoryId}`;
  }

  /**
   * Whether a node's log may be damaged now: one at a time, and only while no disk is lost, since it
   * comes back by what all others say; and only of a node that runs. Where a loss of power has taken the
   * watermark and the log's end decays before the next start, nothing on that disk can tell
   * (storage/log/watermark.ts).
   */
  mayDamage(id: NodeId): boolean {
    return this.lost.length === 0 && this.ids.every((other) => !this.node(other).isDamaged) &&
      this.node(id).running && this.node(id).disk.exists("identity.json");
  }

  /** Crashes a node and damages its log. */
  damageLog(id: NodeId): void {
    this.say(`fault node ${id}  crash log damaged: ${this.node(id).damageLog()}`);
    this.network.forgetOld(id);
    this.#watch.logDamaged(id, this.groups);
  }

  /** Nodes whose logs were damaged, and are not restored. */
  get damaged(): NodeId[] {
    return this.ids.filter((id) => this.node(id).isDamaged);
  }

  /** Crashes a node and takes its disk away; it starts again on an empty one. */
  wipe(id: NodeId): void {
    this.say(`fault node ${id}  crash disk=lost`);
    this.node(id).wipe();
    this.#watch.diskLost(id, this.groups);
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
      this.#noteTakenOut();
      this.#watch.look();
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
      this.#noteTakenOut();
      this.#watch.look();
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

  /** Counts the snapshots that were taken, and those that were installed from a leader. */
  get snapshots(): { readonly taken: number; readonly installed: number } {
    const nodes = [...this.nodes.values()];
    return {
      taken: nodes.reduce((sum, node) => sum + node.snapshotsTaken, 0),
      installed: nodes.reduce((sum, node) => sum + node.snapshotsInstalled, 0),
    };
  }

  /** Highest index of the group that any node has known to be committed. */
  committed(group: GroupId): LogIndex {
    return this.#watch.committed(group);
  }

  /** Tells the invariants a fact. */
  tell(observation: Observation): void {
    this.#watch.tell(observation);
  }

  #failed(id: NodeId, error: Error): void {
    const { config } = this.members;
    // Who was removed may hear of a later version before it has ended.
    const mayEnd = error instanceof MemberRemovedError || error instanceof ClusterVersionError;
    if (mayEnd && !config.members.some((each) => each.id === id)) this.#removed.add(id);
    else this.failures.push({ node: id, error });
    this.say(`fault node ${id}  ended by itself: ${error.message}`);
    // Within the node's own turn: the process is gone once the turn has ended.
    this.loop.after(0, () => this.crash(id, { keepCache: true }));
  }
}

/** Whether this error can only come from a planted fault of a disk. */
function isDiskFault(error: unknown): error is DiskError {
  return error instanceof DiskError && (error.code === "no-space" || error.code === "io");
}
