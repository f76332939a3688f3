/**
 * The fault matrix: every kind of fault that the cluster must survive. Each row says what is expected
 * and where it is shown: in a scenario here, on the simulator, or in tests elsewhere, which are named
 * and must exist.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { KvAnswer } from "../../actors/group.ts";
import { CLUSTER_VERSIONS } from "../../machines/group_config.ts";
import type { MembershipChange } from "../../machines/membership_change.ts";
import type { NodeId } from "../../machines/raft_types.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import { SimCluster } from "./cluster.ts";
import { newMember } from "./faults.ts";
import { GOOD_DISK } from "./sim_node.ts";
import { commandOf } from "../storage/kv/command_of.ts";

/** A row of the matrix. */
export interface MatrixRow {
  readonly row: string;
  readonly title: string;
  /** Plays the row and asserts what is expected; answers how often the fault was hit. */
  readonly play?: () => number;
  /** Tests elsewhere, as `file: part of a test's name`. */
  readonly shownBy?: readonly string[];
}

const ELECTION_TIMEOUT_MS_MAX = 600;
const encoder = new TextEncoder();

/** A write that a scenario watches. */
interface Write {
  readonly clientId: string;
  readonly sequence: number;
  answer: KvAnswer | undefined;
  sentMs: number;
  answeredMs: number | undefined;
}

/** A cluster with a leader, and writes through it. */
class Play {
  readonly cluster: SimCluster;
  #sequence = 0;

  constructor(seed: number, nodes = 3, { membersChange = false } = {}) {
    const build = membersChange ? CLUSTER_VERSIONS.max : 1;
    this.cluster = new SimCluster({ seed, nodes, build });
    this.cluster.startAll();
    assert(this.cluster.runUntilTrue(5_000, () => this.cluster.leader() !== undefined));
    this.cluster.run(membersChange ? 2_500 : 100);
  }

  /** Changes the members, and waits until that is committed; false if it is not. */
  change(change: MembershipChange, withinMs = 5_000): boolean {
    const { cluster } = this;
    const before = cluster.membersChanged;
    cluster.changeMembers(change);
    return cluster.runUntilTrue(withinMs, () => cluster.membersChanged > before);
  }

  /** Adds nodes and waits until they vote. */
  grow(...ids: readonly NodeId[]): void {
    assert(this.change({ add: ids.map(newMember) }));
    const vote = (): boolean => ids.every((id) => this.cluster.members.config.voters.includes(id));
    assert(this.cluster.runUntilTrue(10_000, vote), `${ids} do not vote`);
  }

  /** Hands leadership to a voter, and waits until it leads. */
  transfer(to: NodeId): void {
    const request = { type: "Transfer", to } as const;
    this.cluster.host(this.leader)!.raft.ask(request, { timeoutMs: 5_000 }, () => {});
    const leads = (): boolean => this.cluster.leader() === to;
    assert(this.cluster.runUntilTrue(5_000, leads), `node ${to} does not lead`);
  }

  /** The voters that the newest committed configuration names. */
  get voters(): readonly NodeId[] {
    return this.cluster.members.config.voters;
  }

  get leader(): NodeId {
    const leader = this.cluster.leader();
    assert(leader !== undefined, "there is no leader");
    return leader;
  }

  get followers(): NodeId[] {
    return this.cluster.ids.filter((id) => id !== this.leader);
  }

  term(id: NodeId): number {
    return this.cluster.host(id)!.core.context.currentTerm;
  }

  /** Sends an append to a node; the answer comes into the returned object. */
  append(node: NodeId, key = "k", again?: Write): Write {
    const write: Write = again ?? {
      clientId: `m${++this.#sequence}`,
      sequence: 1,
      answer: undefined,
      sentMs: this.cluster.loop.nowMs,
      answeredMs: undefined,
    };
    const { clientId, sequence } = write;
    const payload = encodeCommand(
      commandOf({ type: "append", key, value: encoder.encode(`${clientId};`) }, {
        once: { type: "session", clientId, sequence },
      }),
    );
    const { life } = this.cluster.node(node);
    const host = this.cluster.host(node);
    life?.after(0, () => {
      host?.raft.ask({ type: "Propose", payload }, { timeoutMs: 5_000 }, (outcome) => {
        if (!outcome.ok) return;
        write.answer = outcome.value;
        write.answeredMs = this.cluster.loop.nowMs;
      });
    });
    return write;
  }

  /** Appends and waits for the acknowledgement. */
  acknowledged(node: NodeId, key = "k"): Write {
    const write = this.append(node, key);
    assert(this.cluster.runUntilTrue(5_000, () => write.answer !== undefined), "no answer");
    assertEquals(write.answer!.status, "ok");
    return write;
  }

  /** The text at a key in a node's store. */
  read(node: NodeId, key = "k"): string {
    const entry = this.cluster.host(node)?.machine.get(key);
    return entry === undefined ? "" : new TextDecoder().decode(entry.value);
  }

  /** Waits until there is a leader among these that the rest of them follow. */
  elected(among: readonly NodeId[], withinMs: number): NodeId {
    const { cluster } = this;
    let leader: NodeId | undefined;
    const isDone = (): boolean => {
      leader = among.find((id) => cluster.host(id)?.core.role === "leader");
      return leader !== undefined &&
        among.every((id) => cluster.host(id)?.core.context.leaderId === leader);
    };
    assert(cluster.runUntilTrue(withinMs, isDone), `no leader among ${among} in ${withinMs} ms`);
    return leader!;
  }

  /** Heals, waits for one leader, and demands that all nodes hold the same and the writes once each. */
  converge(writes: readonly Write[]): void {
    const { cluster } = this;
    cluster.network.heal();
    for (const id of cluster.ids) {
      Object.assign(cluster.node(id).diskQuality, GOOD_DISK);
      cluster.start(id);
    }
    this.elected(cluster.ids, 10 * ELECTION_TIMEOUT_MS_MAX);
    this.acknowledged(this.leader);
    cluster.run(1_000);
    const texts = cluster.ids.map((id) => this.read(id));
    assertEquals(new Set(texts).size, 1);
    for (const { clientId, answer } of writes) {
      const times = texts[0]!.split(`${clientId};`).length - 1;
      assert(times <= 1, `${clientId} was applied ${times} times`);
      if (answer?.status === "ok") assertEquals(times, 1, `${clientId} was lost`);
    }
  }
}

/** Crashes a node at each of many moments after something began. */
function crashAtMoments(
  moments: number,
  begin: (play: Play) => { readonly writes: Write[]; readonly victim: NodeId },
): number {
  for (let moment = 0; moment < moments; moment++) {
    const play = new Play(500 + moment);
    const { writes, victim } = begin(play);
    play.cluster.run(moment * 0.12);
    play.cluster.crash(victim, { keepCache: moment % 3 === 0 });
    play.cluster.run(2 * ELECTION_TIMEOUT_MS_MAX);
    play.converge(writes);
  }
  return moments;
}

/** Cuts the links of a node in one direction. */
function cutOneWay(play: Play, from: readonly NodeId[], to: readonly NodeId[]): void {
  for (const a of from) for (const b of to) play.cluster.network.cut(a, b);
}

/** What is thrown, if anything is. */
function messageOf(run: () => void): string[] {
  try {
    run();
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

/** All rows that apply to what is built. */
export const matrix: readonly MatrixRow[] = [
  {
    row: "A1",
    title: "leader isolated: the minority acknowledges nothing and steps down, the majority elects",
    play: () => {
      for (let seed = 1; seed <= 5; seed++) {
        const play = new Play(seed);
        const { leader: old, followers, cluster } = play;
        const before = play.acknowledged(old);
        cluster.network.partition([old], followers);
        const isolated = Array.from({ length: 5 }, () => play.append(old));
        const stepsDown = (): boolean => cluster.host(old)!.core.role !== "leader";
        assert(cluster.runUntilTrue(ELECTION_TIMEOUT_MS_MAX + 60, stepsDown), "a zombie leads on");
        const next = play.elected(followers, 2 * ELECTION_TIMEOUT_MS_MAX);
        const after = play.acknowledged(next);
        assert(isolated.every(({ answer }) => answer?.status !== "ok"));
        play.converge([before, ...isolated, after]);
        assert(isolated.every(({ answer }) => answer?.status !== "ok"), "a stale entry survived");
      }
      return 5;
    },
  },
  {
    row: "A2",
    title: "leader that only sends, or only receives: it steps down, nobody is stuck",
    play: () => {
      for (const direction of ["cannot receive", "cannot send"]) {
        const play = new Play(direction.length);
        const { leader: old, followers, cluster } = play;
        if (direction === "cannot receive") cutOneWay(play, followers, [old]);
        else cutOneWay(play, [old], followers);
        cluster.run(4 * ELECTION_TIMEOUT_MS_MAX);
        const leaders = cluster.ids.filter((id) => cluster.host(id)!.core.role === "leader");
        assert(leaders.length <= 1 && leaders[0] !== old, `${direction}: leaders ${leaders}`);
        if (direction === "cannot send") play.acknowledged(leaders[0]!);
        play.converge([]);
      }
      return 2;
    },
  },
  {
    row: "A3",
    title: "follower isolated and back: the term is unchanged and the leader stays",
    play: () => {
      const play = new Play(7);
      const { leader, followers: [away], cluster } = play;
      const term = play.term(leader);
      cluster.network.partition([away!], cluster.ids.filter((id) => id !== away));
      cluster.run(20_000);
      cluster.network.heal();
      cluster.run(5_000);
      assertEquals(play.leader, leader);
      assertEquals(cluster.ids.map((id) => play.term(id)), [term, term, term]);
      return 1;
    },
  },
  {
    row: "A4",
    title: "one link cut: one leader, no inflation of terms",
    play: () => {
      for (let seed = 1; seed <= 4; seed++) {
        const play = new Play(seed);
        const term = play.term(play.leader);
        play.cluster.network.cutBoth(play.leader, play.followers[0]!);
        play.cluster.run(60_000);
        const terms = play.cluster.ids.map((id) => play.term(id));
        assert(Math.max(...terms) - term <= 3, `terms ${terms} from ${term}`);
        play.converge([]);
      }
      return 4;
    },
  },
  {
    row: "A5",
    title: "majorities ring of five: safe, and progress or clean unavailability",
    play: () => {
      const play = new Play(9, 5);
      const { ids, network } = play.cluster;
      ids.forEach((a, i) =>
        ids.forEach((b, j) => {
          const distance = Math.min(Math.abs(i - j), ids.length - Math.abs(i - j));
          if (distance > 1) network.cut(a, b);
        })
      );
      const writes = ids.map((id) => play.append(id));
      play.cluster.run(30_000);
      play.converge(writes);
      return 1;
    },
  },
  {
    row: "A6",
    title: "loss, duplication, reordering: safe; live when a tenth is lost",
    play: () => {
      const play = new Play(10);
      Object.assign(play.cluster.network.quality, {
        loss: 0.1,
        duplication: 0.5,
        delayMsMean: 20,
      });
      const writes: Write[] = [];
      for (let n = 0; n < 30; n++) {
        const leader = play.cluster.leader();
        if (leader !== undefined) writes.push(play.append(leader));
        play.cluster.run(400);
      }
      const done = writes.filter(({ answer }) => answer?.status === "ok").length;
      assert(done >= 20, `only ${done} of ${writes.length} writes were answered`);
      play.converge(writes);
      return 30;
    },
  },
  {
    row: "A7",
    title: "very old messages again: ignored, matchIndex never falls",
    play: () => {
      const play = new Play(11);
      const { cluster } = play;
      const highest = new Map<string, number>();
      let hits = 0;
      for (let n = 0; n < 200; n++) {
        const leader = play.leader;
        play.append(leader);
        cluster.network.replayOld();
        hits++;
        cluster.run(3);
        for (const [peer, { matchIndex }] of cluster.host(leader)!.core.state.lead.progress) {
          const key = `${leader}/${play.term(leader)}/${peer}`;
          assert(matchIndex >= (highest.get(key) ?? 0), "matchIndex fell");
          highest.set(key, matchIndex);
        }
      }
      play.converge([]);
      return hits;
    },
  },
  {
    row: "A8",
    title: "resets, half-open links, byte by byte, two frames in a segment",
    shownBy: [
      "tests/transport/frame_reader_test.ts: S17: a message of many segments arrives whole",
      "tests/actors/peer_test.ts: a newer connection replaces one that is half open",
      "tests/actors/peer_test.ts: a frame that does not decode closes the connection",
      "tests/chaos/chaos_test.ts: real processes under kills, pauses and partitions",
      "tests/sim/network_test.ts: a stream is whole and in order, however it is cut, lost and delayed",
    ],
    play: () => {
      const play = new Play(27);
      const { cluster } = play;
      const writes: Write[] = [];
      let resets = 0;
      for (let n = 0; n < 100; n++) {
        const leader = play.elected(cluster.ids, 6_000);
        const term = play.term(leader);
        writes.push(play.append(leader), play.append(leader));
        cluster.run(cluster.dice.between(0, 2));
        cluster.network.reset(leader, cluster.ids.find((id) => id !== leader)!);
        resets++;
        cluster.run(400);
        assertEquals([play.leader, play.term(leader)], [leader, term], "a reset cost an election");
      }
      assert(writes.every(({ answer }) => answer?.status === "ok"), "a write was not answered");
      play.converge(writes);
      return resets;
    },
  },
  {
    row: "A9",
    title: "one slow follower: the leader's slowest writes are no slower, the window is bounded",
    play: () => {
      const slowest = (slowMs: number): number => {
        const play = new Play(12);
        const { leader, followers: [slow], cluster } = play;
        cluster.network.slowMs.set(slow!, slowMs);
        const writes: Write[] = [];
        for (let n = 0; n < 200; n++) {
          writes.push(play.append(leader));
          cluster.run(20);
        }
        const progress = cluster.host(leader)!.core.state.lead.progress.get(slow!)!;
        assert(progress.inflightMessages <= 128);
        assert(writes.every(({ answer }) => answer?.status === "ok"));
        const tookMs = writes.map(({ sentMs, answeredMs }) => answeredMs! - sentMs);
        return tookMs.sort((a, b) => a - b)[Math.floor(tookMs.length * 0.99)]!;
      };
      // With two fast nodes a commit waits for the slower of two disks, with three for the middle one.
      assert(slowest(500) <= 2.5 * slowest(0), `${slowest(500)} ms against ${slowest(0)} ms`);
      return 200;
    },
  },
  {
    row: "A10",
    title: "a transfer to a node that is cut off: it is aborted within an election timeout",
    play: () => {
      const play = new Play(13);
      const { leader, followers: [target], cluster } = play;
      cluster.network.cutBoth(leader, target!);
      play.append(leader);
      cluster.host(leader)!.raft.cast({ type: "Transfer", to: target! });
      cluster.run(ELECTION_TIMEOUT_MS_MAX + 60);
      assertEquals(cluster.host(leader)!.core.context.transferee, undefined);
      play.acknowledged(leader);
      play.converge([]);
      return 1;
    },
  },
  {
    row: "A11",
    title: "client on the minority side: never ok; its retry at the majority is applied once",
    play: () => {
      const play = new Play(14);
      const { leader: old, followers, cluster } = play;
      cluster.network.partition([old], followers);
      const write = play.append(old);
      cluster.run(ELECTION_TIMEOUT_MS_MAX);
      assert(write.answer?.status !== "ok");
      const next = play.elected(followers, 3 * ELECTION_TIMEOUT_MS_MAX);
      play.append(next, "k", write);
      assert(cluster.runUntilTrue(2_000, () => write.answer?.status === "ok"));
      play.converge([write]);
      return 1;
    },
  },
  {
    row: "B1",
    title:
      "leader killed before and after append, sync, commit, reply: what was acknowledged survives",
    play: () =>
      crashAtMoments(40, (play) => {
        const acknowledged = play.acknowledged(play.leader);
        return { writes: [acknowledged, play.append(play.leader)], victim: play.leader };
      }),
  },
  {
    row: "B2",
    title: "follower killed around its vote and its appends: it never votes twice",
    play: () =>
      crashAtMoments(30, (play) => {
        const { leader, followers: [one, other], cluster } = play;
        const writes = [play.acknowledged(leader)];
        cluster.crash(leader);
        cluster.runUntilTrue(2_000, () =>
          [one!, other!].some((id) => cluster.host(id)!.core.role === "candidate"));
        return { writes, victim: one! };
      }),
  },
  {
    row: "B3",
    title: "all killed at once: every acknowledged write is there after the restart",
    play: () => {
      for (let seed = 1; seed <= 6; seed++) {
        const play = new Play(seed);
        const writes = Array.from({ length: 5 }, () => play.acknowledged(play.leader));
        writes.push(play.append(play.leader));
        play.cluster.run(seed * 0.2);
        for (const id of play.cluster.ids) play.cluster.crash(id);
        play.converge(writes);
      }
      return 6;
    },
  },
  {
    row: "B4",
    title: "leader stopped and continued: no stale read when it wakes",
    play: () => {
      for (let seed = 1; seed <= 5; seed++) {
        const play = new Play(seed);
        const { leader: old, followers, cluster } = play;
        play.acknowledged(old);
        cluster.node(old).life!.pause(3_000 + seed * 500);
        // A read reaches it while it sleeps, before the others have elected and written.
        let seen: string | undefined;
        const life = cluster.node(old).life!;
        life.after(2_900, () => {
          cluster.host(old)!.raft.ask({ type: "ReadBarrier" }, { timeoutMs: 5_000 }, (outcome) => {
            if (outcome.ok && outcome.value.status === "ready") seen = play.read(old);
          });
        });
        const next = play.elected(followers, 3 * ELECTION_TIMEOUT_MS_MAX);
        const write = play.acknowledged(next);
        cluster.run(8_000);
        assert(seen === undefined || seen.includes(`${write.clientId};`), `stale read: ${seen}`);
        play.converge([write]);
      }
      return 5;
    },
  },
  {
    row: "B5",
    title:
      "a stalled event loop costs no election: queued heartbeats come before the timer is believed",
    play: () => {
      for (let seed = 1; seed <= 5; seed++) {
        const play = new Play(seed);
        const { leader, followers: [stalled], cluster } = play;
        const term = play.term(leader);
        cluster.node(stalled!).life!.pause(2 * ELECTION_TIMEOUT_MS_MAX);
        cluster.run(5_000);
        cluster.node(leader).life!.pause(200);
        cluster.run(5_000);
        assertEquals(play.leader, leader);
        assertEquals(cluster.ids.map((id) => play.term(id)), [term, term, term]);
      }
      return 10;
    },
  },
  {
    row: "B6",
    title: "clocks that drift: log time never falls, nothing else uses time",
    play: () => {
      const play = new Play(15);
      const { cluster } = play;
      let last = 0;
      for (let n = 0; n < 12; n++) {
        cluster.ids.forEach((id) => cluster.node(id).life?.setClockRate(n % 2 === 0 ? 1.05 : 0.95));
        const leader = play.elected(cluster.ids.filter((id) => cluster.node(id).running), 6_000);
        play.acknowledged(leader);
        const { logTimeMs } = cluster.host(leader)!.machine;
        assert(logTimeMs >= last, "log time fell");
        last = logTimeMs;
        cluster.crash(leader);
        cluster.run(1_500);
        cluster.start(leader);
        cluster.run(300);
      }
      assert(last > 0);
      play.converge([]);
      return 12;
    },
  },
  {
    row: "B7",
    title: "a restarted node refuses votes for a minimum election timeout",
    shownBy: ["tests/machines/paper_test.ts: restart"],
  },
  {
    row: "B8",
    title: "a hundred restarts: the log does not grow, the cluster goes on",
    play: () => {
      const play = new Play(16);
      const { followers: [victim], cluster } = play;
      play.acknowledged(play.leader);
      const size = (): number =>
        cluster.node(victim!).disk.list("wal")
          .reduce(
            (sum, name) => sum + cluster.node(victim!).disk.readFile(`wal/${name}`).length,
            0,
          );
      const before = size();
      for (let n = 0; n < 100; n++) {
        cluster.crash(victim!);
        cluster.start(victim!);
        cluster.run(20);
      }
      assert(size() < before + 20_000, `the log grew from ${before} to ${size()} bytes`);
      play.converge([]);
      return 100;
    },
  },
  {
    row: "B9",
    title: "transfers while writes are in flight: nothing acknowledged is lost",
    shownBy: ["tests/machines/scenarios/transfer.txt: a second transfer is refused"],
    play: () => {
      const play = new Play(17);
      const { cluster } = play;
      const writes: Write[] = [];
      for (let n = 0; n < 20; n++) {
        const leader = play.elected(cluster.ids, 6_000);
        writes.push(play.append(leader), play.append(leader));
        // In flight: appended, not yet committed.
        cluster.run(0.2);
        cluster.host(leader)!.raft.cast({ type: "Transfer", to: cluster.ids[n % 3]! });
        writes.push(play.append(leader));
        cluster.run(100);
      }
      const done = writes.filter(({ answer }) => answer?.status === "ok").length;
      assert(done >= 20, `${done} of ${writes.length} writes were answered`);
      play.converge(writes);
      return 20;
    },
  },
  {
    row: "B10",
    title: "an actor throws: the process ends, the others go on",
    shownBy: ["tests/actors/system_test.ts: supervision"],
    play: () => {
      const play = new Play(18);
      const { leader, cluster } = play;
      cluster.host(leader)!.machine.apply = () => {
        throw new Error("planted");
      };
      play.append(leader);
      cluster.run(100);
      assertEquals(cluster.failures.map(({ node, error }) => [node, error.message]), [
        [leader, "planted"],
      ]);
      assert(!cluster.node(leader).running);
      play.elected(cluster.ids.filter((id) => id !== leader), 3 * ELECTION_TIMEOUT_MS_MAX);
      return 1;
    },
  },
  {
    row: "C1",
    title: "crash at every disk operation, unsynced data dropped",
    shownBy: [
      "tests/storage/wal_crash_test.ts: S03: after a crash at any operation, with any loss",
    ],
  },
  {
    row: "C2",
    title: "torn writes are cut off, never accepted",
    shownBy: [
      "tests/storage/wal_crash_test.ts: S03: after a crash at any operation, with any loss",
      "tests/storage/wal_test.ts: a torn segment with unsynced ones behind it is cut off",
    ],
  },
  {
    row: "C4",
    title: "truncated, zero-filled, missing, duplicated, swapped segments",
    shownBy: [
      "tests/storage/wal_test.ts: zeros or garbage behind the last record are a torn tail",
      "tests/storage/wal_test.ts: records that contradict each other are corruption",
    ],
  },
  {
    row: "C5",
    title: "fsync fails once: the process ends, nothing of that batch is acknowledged",
    play: () => {
      const play = new Play(19);
      const { leader, cluster } = play;
      cluster.node(leader).diskQuality.failNextSync = true;
      const write = play.append(leader);
      cluster.run(200);
      assert(!cluster.node(leader).running, "the node runs on");
      assertEquals(write.answer, undefined);
      assertEquals(cluster.failures.map(({ error }) => error.name), ["WalFailedError"]);
      cluster.run(3 * ELECTION_TIMEOUT_MS_MAX);
      play.converge([write]);
      return 1;
    },
  },
  {
    row: "X18",
    title: "disks on which a sync takes longer than an election timeout still elect a leader",
    play: () => {
      let hits = 0;
      for (const syncMs of [250, 300, 450, 900]) {
        const cluster = new SimCluster({ seed: 1800 + syncMs, nodes: 3 });
        for (const id of cluster.ids) cluster.node(id).diskQuality.syncMsFixed = syncMs;
        cluster.startAll();
        const elected = cluster.runUntilTrue(30_000, () => {
          const leader = cluster.leader();
          return leader !== undefined && cluster.host(leader)!.core.state.commitIndex > 0;
        });
        assert(elected, `nobody leads with syncs of ${syncMs} ms`);
        const term = cluster.host(cluster.leader()!)!.core.context.currentTerm;
        cluster.run(20_000);
        assertEquals(cluster.host(cluster.leader()!)!.core.context.currentTerm, term);
        hits++;
      }
      return hits;
    },
  },
  {
    row: "C7",
    title: "the leader's disk hangs for good under load: writes go on, and another leads at once",
    play: () => {
      for (let seed = 700; seed < 710; seed++) {
        const play = new Play(seed);
        const { leader, cluster } = play;
        cluster.node(leader).diskQuality.syncMsFixed = 3_600_000;
        const writes: Write[] = [];
        let longestMs = 0;
        let lastMs = cluster.loop.nowMs;
        for (const endMs = lastMs + 6_000; cluster.loop.nowMs < endMs;) {
          const now = cluster.ids.find((id) => cluster.host(id)?.core.role === "leader");
          if (now !== undefined) writes.push(play.append(now));
          cluster.run(5);
          for (const { answer, answeredMs } of writes.slice(-50)) {
            if (answer?.status !== "ok" || answeredMs! <= lastMs) continue;
            longestMs = Math.max(longestMs, answeredMs! - lastMs);
            lastMs = answeredMs!;
          }
        }
        assert(play.leader !== leader, "a leader whose disk hangs leads on");
        // Nobody waits for an election timeout.
        assert(longestMs < ELECTION_TIMEOUT_MS_MAX / 6, `no answer for ${longestMs} ms`);
        assert(writes.filter(({ answer }) => answer?.status === "ok").length > 1_000);
        // Only a new process gets rid of a sync that hangs.
        cluster.crash(leader);
        play.converge(writes);
      }
      return 10;
    },
  },
  {
    row: "X17",
    title: "a disk that is always slow and stalled once campaigns again",
    play: () => {
      const play = new Play(1700);
      const { cluster, leader } = play;
      for (const id of cluster.ids) {
        cluster.node(id).diskQuality.syncMsFixed = 220;
        cluster.node(id).diskQuality.syncMsMean = 1;
      }
      cluster.run(2_000);
      for (const id of cluster.ids) cluster.node(id).diskQuality.syncMsFixed = 3_200;
      play.append(leader);
      cluster.run(4_000);
      for (const id of cluster.ids) cluster.node(id).diskQuality.syncMsFixed = 220;
      cluster.run(10_000);
      assert(cluster.runUntilTrue(20_000, () => cluster.leader() !== undefined), "nobody leads");
      return 1;
    },
  },
  {
    row: "C7",
    title: "syncs of 10 ms to 2 s: heartbeats go on, no election",
    play: () => {
      let hits = 0;
      for (const syncMs of [10, 100, 500, 1_900]) {
        const play = new Play(20 + hits);
        const { leader, followers: [slow], cluster } = play;
        const term = play.term(leader);
        for (const id of [slow!, leader]) {
          cluster.node(id).diskQuality.syncMsMean = 0;
          cluster.node(id).diskQuality.syncMsFixed = syncMs;
          for (let n = 0; n < 20; n++) {
            play.append(leader);
            cluster.run(200);
          }
          cluster.run(3_000);
          Object.assign(cluster.node(id).diskQuality, GOOD_DISK);
          cluster.run(3_000);
        }
        assertEquals(play.term(leader), term, `an election at ${syncMs} ms a sync`);
        assertEquals(play.leader, leader);
        play.converge([]);
        hits++;
      }
      return hits;
    },
  },
  {
    row: "C8",
    title: "disk lost, same id: the two that are left without the write elect nobody",
    shownBy: [
      "tests/process/lost_directory_test.ts: a node that lost its directory is refused",
      "tests/actors/peer_test.ts: lost directory: who is dialled by the lost node refuses it",
      "tests/actors/peer_test.ts: lost directory: who dials the lost node is refused by it",
    ],
    play: () => {
      for (let seed = 1; seed <= 5; seed++) {
        const play = new Play(seed);
        const { leader, followers: [behind, lost], cluster } = play;
        cluster.network.partition([behind!], [leader, lost!]);
        const write = play.acknowledged(leader);
        assert(cluster.mayWipe(lost!), "they have not greeted");
        cluster.wipe(lost!);
        cluster.crash(leader);
        cluster.network.heal();
        cluster.start(lost!);
        cluster.run(10 * ELECTION_TIMEOUT_MS_MAX);
        assert([behind!, lost!].every((id) => cluster.host(id)!.core.role !== "leader"));
        cluster.start(leader);
        play.acknowledged(play.elected([leader, behind!], 10 * ELECTION_TIMEOUT_MS_MAX));
        cluster.run(1_000);
        assert(play.read(leader).startsWith(`${write.clientId};`), "an acknowledged write is lost");
        assertEquals(play.read(behind!), play.read(leader));
        assertEquals([play.term(lost!), play.read(lost!)], [0, ""], "the lost node took part");
      }
      return 5;
    },
  },
  {
    row: "U1",
    title:
      "members upgraded one by one: they agree on a version once all know it; an old build stops",
    shownBy: [
      "tests/process/upgrade_test.ts: three members are upgraded one by one under load",
      "tests/actors/cluster_version_test.ts: a log of a higher cluster version is refused",
    ],
    play: () => {
      const play = new Play(28);
      const { cluster } = play;
      const versions = (): number[] => cluster.ids.map((id) => cluster.host(id)!.clusterVersion);
      const writes: Write[] = [];
      for (const id of cluster.ids) {
        writes.push(play.append(play.leader));
        assertEquals(versions(), [1, 1, 1], "a version that not all know");
        cluster.crash(id, { keepCache: true });
        cluster.node(id).build = 2;
        cluster.start(id);
        play.elected(cluster.ids, 6_000);
        cluster.run(3_000);
      }
      assertEquals(versions(), [2, 2, 2]);
      const [old, ...others] = play.followers;
      cluster.crash(old!, { keepCache: true });
      cluster.node(old!).build = 1;
      assertEquals(messageOf(() => cluster.start(old!)), [
        "Cannot take part: the cluster has agreed on version 2, and this build knows versions up " +
        "to 1; start this member with the build that the others run",
      ]);
      cluster.crash(old!);
      play.acknowledged(play.elected([play.leader, ...others], 6_000));
      cluster.node(old!).build = 2;
      play.converge(writes);
      assertEquals(versions(), [2, 2, 2]);
      return 4;
    },
  },
  {
    row: "E1",
    title: "members are added, removed with the leader, and two at once, with the minority cut off",
    play: () => {
      const play = new Play(41, 3, { membersChange: true });
      const { cluster } = play;
      const writes = [play.acknowledged(play.leader)];
      play.grow(4, 5);
      assertEquals(play.voters, [1, 2, 3, 4, 5]);
      const { leader } = play;
      const [away, gone] = play.followers;
      cluster.network.partition([away!], cluster.ids.filter((id) => id !== away));
      assert(play.change({ remove: [leader, gone!] }));
      writes.push(play.append(cluster.ids.find((id) => play.voters.includes(id))!));
      cluster.network.heal();
      // Both end by themselves, and so is the cluster whole.
      const isEnded = (): boolean => !cluster.ids.includes(leader) && !cluster.ids.includes(gone!);
      assert(cluster.runUntilTrue(30_000, isEnded), "who was removed runs on");
      play.converge(writes);
      assertEquals(play.voters.length, 3);
      return 3;
    },
    shownBy: ["tests/machines/membership_test.ts: one change at a time"],
  },
  {
    row: "E2",
    title: "the three schedules of the bug of 2015: never two disjoint quorums",
    shownBy: ["tests/machines/membership_test.ts: 2015: two leaders that change the members"],
  },
  {
    row: "E1",
    title:
      "a voter that was away while another was replaced elects the new one, whom it does not know",
    play: () => {
      for (let seed = 1; seed <= 3; seed++) {
        const play = new Play(seed, 3, { membersChange: true });
        const { cluster } = play;
        const { leader, followers: [away, replaced] } = play;
        cluster.crash(away!);
        assert(play.change({ replace: [{ id: replaced!, by: newMember(4) }] }));
        const hasVote = (): boolean => play.voters.includes(4) && !play.voters.includes(replaced!);
        assert(cluster.runUntilTrue(20_000, hasVote), "node 4 has no vote");
        const write = play.acknowledged(leader);
        cluster.run(1_000);
        cluster.crash(leader);
        cluster.start(away!);
        play.acknowledged(play.elected([away!, 4], 20_000));
        cluster.run(1_000);
        assert(play.read(away!).startsWith(`${write.clientId};`), "an acknowledged write is lost");
      }
      return 3;
    },
  },
  {
    row: "E3",
    title: "a member that was removed while it was cut off disturbs nobody when it comes back",
    play: () => {
      const play = new Play(43, 4, { membersChange: true });
      const { cluster } = play;
      const [away] = play.followers;
      cluster.network.partition([away!], cluster.ids.filter((id) => id !== away));
      cluster.run(2_000);
      const { leader } = play;
      assert(play.change({ remove: [away!] }));
      const term = play.term(leader);
      cluster.network.heal();
      cluster.run(15_000);
      assertEquals([cluster.leader(), play.term(leader)], [leader, term]);
      assert(cluster.runUntilTrue(30_000, () => !cluster.ids.includes(away!)), "it runs on");
      play.converge([play.acknowledged(play.leader)]);
      return 1;
    },
  },
  {
    row: "E4",
    title: "a new member that dies half way holds nobody up, and is taken back",
    play: () => {
      const play = new Play(44, 3, { membersChange: true });
      const { cluster } = play;
      assert(play.change({ add: [newMember(4)] }));
      assert(cluster.runUntilTrue(1_000, () => cluster.nodes.has(4)));
      cluster.crash(4);
      const [down] = play.followers;
      cluster.crash(down!);
      const writes = [play.acknowledged(play.leader)];
      assertEquals(cluster.members.config.learners, [4]);
      cluster.start(down!);
      cluster.start(4);
      assert(cluster.runUntilTrue(10_000, () => play.voters.includes(4)), "it does not vote");
      play.converge(writes);
      return 2;
    },
  },
  {
    row: "E5",
    title: "one member alone grows to two, and shrinks to the other",
    play: () => {
      const play = new Play(45, 1, { membersChange: true });
      const { cluster } = play;
      const writes = [play.acknowledged(1)];
      play.grow(2);
      assert(play.change({ remove: [1] }));
      assert(cluster.runUntilTrue(10_000, () => !cluster.ids.includes(1)), "node 1 runs on");
      assertEquals(play.elected([2], 6_000), 2);
      play.converge(writes);
      return 2;
    },
  },
  {
    row: "E6",
    title: "a lost disk: the id is welcome again only once the cluster has taken the old one out",
    play: () => {
      const play = new Play(46, 3, { membersChange: true });
      const { cluster } = play;
      const writes = [play.acknowledged(play.leader)];
      const [lost] = play.followers;
      cluster.run(1_000);
      cluster.wipe(lost!);
      cluster.start(lost!);
      cluster.run(3_000);
      assertEquals(cluster.host(lost!)!.core.state.log.lastIndex, 0, "it was let in");
      assert(play.change({ replace: [{ id: lost! }] }));
      assert(cluster.runUntilTrue(10_000, () => play.voters.includes(lost!)), "it does not vote");
      play.converge(writes);
      return 1;
    },
    shownBy: ["tests/process/members_test.ts: loses no acknowledged write"],
  },
  {
    row: "E6",
    title: "members that joined after a disk was lost do not take the one in its place for it",
    play: () => {
      const play = new Play(48, 3, { membersChange: true });
      const { cluster } = play;
      const writes = [play.acknowledged(play.leader)];
      const [lost] = play.followers;
      cluster.run(1_000);
      cluster.wipe(lost!);
      play.grow(4);
      play.grow(5);
      play.transfer(4);
      cluster.start(lost!);
      // It hears of the others over HTTP (actors/node.ts).
      cluster.node(lost!).process!.noteMembers({ placed: cluster.members, isCommitted: true });
      cluster.run(3_000);
      assertEquals(cluster.host(lost!)!.core.state.log.lastIndex, 0, "it was let in");
      assert(play.change({ replace: [{ id: lost! }] }));
      assert(cluster.runUntilTrue(10_000, () => play.voters.includes(lost!)), "it does not vote");
      play.converge(writes);
      return 1;
    },
    shownBy: ["tests/actors/peer_test.ts: a node that never met a peer goes by"],
  },
  {
    row: "E6",
    title:
      "a member that was away while a disk was replaced follows the new directory if that leads",
    play: () => {
      const play = new Play(47, 5, { membersChange: true });
      const { cluster } = play;
      const [away, lost] = play.followers;
      cluster.run(1_000);
      cluster.crash(away!);
      cluster.wipe(lost!);
      cluster.run(ELECTION_TIMEOUT_MS_MAX);
      assert(play.change({ replace: [{ id: lost! }] }));
      assert(cluster.runUntilTrue(10_000, () => play.voters.includes(lost!)), "it does not vote");
      play.transfer(lost!);
      const writes = [play.acknowledged(lost!)];
      cluster.start(away!);
      assert(cluster.runUntilTrue(15_000, () => play.read(away!) !== ""), "it refuses its leader");
      assertEquals(cluster.leader(), lost, "leadership had to move");
      play.converge(writes);
      return 1;
    },
    shownBy: ["tests/actors/peer_test.ts: a directory in the place of a removed one"],
  },
  {
    row: "C10",
    title: "two processes on one directory: the second is refused",
    shownBy: ["tests/process/command_line_test.ts: directory"],
  },
  {
    row: "C11",
    title: "permission denied, read-only: a typed error",
    shownBy: [
      "tests/process/command_line_test.ts: directory",
      "tests/storage/disk_conformance.ts: ",
    ],
  },
  {
    row: "C12",
    title: "a sync of an entry that was replaced meanwhile counts for nothing",
    shownBy: ["tests/machines/paper_test.ts: C12"],
  },
  {
    row: "G1",
    title:
      "a repeated request, at another node too: applied once; after its session ended: an error",
    shownBy: ["tests/storage/kv/kv_store_test.ts: a session unused for the idle time expires"],
    play: () => {
      const play = new Play(24);
      const write = play.acknowledged(play.leader);
      play.append(play.leader, "k", write);
      play.cluster.crash(play.leader);
      play.cluster.run(3 * ELECTION_TIMEOUT_MS_MAX);
      play.append(play.leader, "k", write);
      play.cluster.run(500);
      play.converge([write]);
      return 3;
    },
  },
  {
    row: "G2",
    title: "sequences out of order and at once: the window",
    shownBy: ["tests/storage/kv/kv_store_test.ts: concurrent sequences of a session"],
  },
  {
    row: "G3",
    title: "empty values, binary and astral keys, order by bytes",
    shownBy: ["tests/transport/http_cases.ts: byte"],
  },
  {
    row: "G4",
    title: "overload: refused in time, bounded, and over when the load is over",
    play: () => {
      const play = new Play(25);
      const { leader, followers, cluster } = play;
      cluster.network.partition([leader], followers);
      const payload = encodeCommand(
        commandOf({ type: "put", key: "big", value: new Uint8Array(1024 * 1024) }),
      );
      const refused: string[] = [];
      for (let n = 0; n < 100; n++) {
        cluster.host(leader)!.raft.ask({ type: "Propose", payload }, { timeoutMs: 5_000 }, (o) => {
          if (o.ok && o.value.status === "refused") refused.push(o.value.reason);
        });
        cluster.run(2);
      }
      assert(refused.includes("overloaded"), `refused: ${refused}`);
      assert(cluster.host(leader)!.core.state.log.byteLength < 70 * 1024 * 1024);
      cluster.network.heal();
      cluster.run(2_000);
      play.converge([]);
      return 100;
    },
  },
  {
    row: "G1",
    title: "a key with a time of its own dies within that and an election, whoever leads meanwhile",
    play: () => {
      const ttlMs = 10_000;
      for (let seed = 1; seed <= 3; seed++) {
        const play = new Play(seed, 3, { membersChange: true });
        const { cluster } = play;
        const payload = encodeCommand({
          compares: [],
          success: [
            { type: "leaseGrant", ttlMs, isOfKey: true },
            { type: "putLeased", key: "brief", value: encoder.encode("x"), lease: 0 },
          ],
          failure: [],
        });
        let status = "";
        cluster.host(play.leader)!.raft.ask(
          { type: "Propose", payload },
          { timeoutMs: 5_000 },
          (outcome) => {
            if (outcome.ok) status = outcome.value.status;
          },
        );
        assert(cluster.runUntilTrue(5_000, () => status === "ok"), "it was not taken");
        const bornMs = cluster.loop.nowMs;
        const isThere = (): boolean => play.read(play.leader, "brief") !== "";
        let leaderlessMs = 0;
        for (let change = 0; change < 3; change++) {
          const { leader } = play;
          cluster.crash(leader);
          const lostMs = cluster.loop.nowMs;
          play.elected(cluster.ids.filter((id) => id !== leader), 5_000);
          leaderlessMs += cluster.loop.nowMs - lostMs;
          cluster.start(leader);
          cluster.run(1_000);
          assert(isThere(), "it died early");
        }
        cluster.run(bornMs + ttlMs - 500 - cluster.loop.nowMs);
        assert(isThere(), "it died early");
        // Nothing else is written: the leader lets time pass by itself.
        cluster.run(500 + leaderlessMs + ELECTION_TIMEOUT_MS_MAX);
        for (const id of cluster.ids) assertEquals(play.read(id, "brief"), "", `node ${id}`);
      }
      return 9;
    },
    shownBy: ["tests/storage/kv/leases_test.ts: a lease ends at its log time"],
  },
  {
    row: "G5",
    title: "a client that goes away: its slot is freed, its entry may commit",
    play: () => {
      const play = new Play(26);
      const { leader, followers, cluster } = play;
      cluster.network.partition([leader], followers);
      let outcome = "";
      const payload = encodeCommand(
        commandOf({ type: "put", key: "gone", value: new Uint8Array(1) }),
      );
      cluster.host(leader)!.raft.ask({ type: "Propose", payload }, { timeoutMs: 50 }, (o) => {
        outcome = o.ok ? o.value.status : o.error.name;
      });
      cluster.run(200);
      assertEquals(outcome, "CallTimeoutError");
      assertEquals(cluster.node(leader).system!.status().pendingCalls, 0);
      play.converge([]);
      return 1;
    },
  },
  {
    row: "H",
    title: "hostile input at every boundary",
    shownBy: [
      "tests/transport/codec_test.ts: hostile",
      "tests/transport/frame_reader_test.ts: S18: a length is checked before anything is allocated",
      "tests/actors/peer_test.ts: hello: anything else as first frame",
      "tests/process/cluster_test.ts: S17, S18: garbage and a 4 GiB length",
    ],
  },
];
