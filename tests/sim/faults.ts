/**
 * Everything that is done to a simulated cluster, each fault with the row of the fault matrix
 * (fault_matrix.ts) that it plays.
 *
 * @module
 */
import { CLUSTER_VERSIONS, MEMBERS_VERSION } from "../../machines/group_config.ts";
import type { NewMember } from "../../machines/membership_change.ts";
import { formatHostPort } from "../../transport/wire/network.ts";
import { SimNetwork } from "./network.ts";
import type { NodeId } from "../../machines/raft_types.ts";
import type { SimCluster } from "./cluster.ts";
import { GOOD_NETWORK } from "./network.ts";
import { GOOD_DISK } from "./sim_node.ts";

/** One kind of fault. */
export interface Fault {
  readonly name: string;
  /** Row of the fault matrix. */
  readonly row: string;
  /** How often it is drawn, relative to the others. */
  readonly weight: number;
  /** Whether it can be done now; always, if it does not say. */
  readonly isPossible?: (cluster: SimCluster) => boolean;
  /** Begins it; the answer ends it. */
  readonly begin: (cluster: SimCluster) => () => void;
}

/** How often it is looked whether a node that was told to stop has ended. */
const STOP_POLL_MS = 20;

/** The build after this one, as far as the simulator knows. */
const NEWEST_BUILD = CLUSTER_VERSIONS.max + 1;

/** Every fault that a random run draws from. */
export const faults: readonly Fault[] = [
  {
    name: "isolate-leader",
    row: "A1",
    weight: 3,
    begin: (cluster) => isolate(cluster, leaderOrAny(cluster)),
  },
  {
    name: "leader-cannot-receive",
    row: "A2",
    weight: 2,
    begin: (cluster) => {
      const leader = leaderOrAny(cluster);
      for (const id of others(cluster, leader)) cluster.network.cut(id, leader);
      return () => cluster.network.heal();
    },
  },
  {
    name: "leader-cannot-send",
    row: "A2",
    weight: 2,
    begin: (cluster) => {
      const leader = leaderOrAny(cluster);
      for (const id of others(cluster, leader)) cluster.network.cut(leader, id);
      return () => cluster.network.heal();
    },
  },
  {
    name: "isolate-follower",
    row: "A3",
    weight: 2,
    begin: (cluster) => isolate(cluster, follower(cluster)),
  },
  {
    name: "cut-one-link",
    row: "A4",
    weight: 2,
    begin: (cluster) => {
      const [a, b] = cluster.dice.shuffle(cluster.ids);
      cluster.network.cutBoth(a!, b!);
      return () => cluster.network.heal();
    },
  },
  {
    name: "majorities-ring",
    row: "A5",
    weight: 1,
    begin: (cluster) => {
      // Every node sees a majority, and no two the same one.
      const ring = cluster.dice.shuffle(cluster.ids);
      const reach = Math.floor(ring.length / 4) + 1;
      ring.forEach((a, i) =>
        ring.forEach((b, j) => {
          const distance = Math.min(Math.abs(i - j), ring.length - Math.abs(i - j));
          if (distance > reach) cluster.network.cut(a, b);
        })
      );
      return () => cluster.network.heal();
    },
  },
  {
    name: "partition",
    row: "A1",
    weight: 3,
    begin: (cluster) => {
      const shuffled = cluster.dice.shuffle(cluster.ids);
      const at = 1 + cluster.dice.below(shuffled.length - 1);
      cluster.network.partition(shuffled.slice(0, at), shuffled.slice(at));
      return () => cluster.network.heal();
    },
  },
  {
    name: "bad-network",
    row: "A6",
    weight: 4,
    begin: (cluster) => {
      const { dice, network } = cluster;
      network.quality = {
        loss: dice.chance(0.5) ? dice.between(0, 0.3) : 0,
        duplication: dice.chance(0.5) ? dice.between(0, 0.5) : 0,
        delayMsMin: 0.1,
        delayMsMean: dice.chance(0.3) ? dice.between(50, 1_000) : dice.between(0.3, 50),
      };
      return () => void (network.quality = { ...GOOD_NETWORK });
    },
  },
  {
    name: "replay-old-messages",
    row: "A7",
    weight: 3,
    begin: (cluster) => {
      for (let n = 0; n < 20; n++) cluster.loop.after(n * 7, () => cluster.network.replayOld());
      return () => {};
    },
  },
  {
    name: "slow-node",
    row: "A9",
    weight: 2,
    begin: (cluster) => {
      const id = cluster.dice.pick(cluster.ids);
      cluster.network.slowMs.set(id, cluster.dice.between(50, 1_000));
      return () => void cluster.network.slowMs.delete(id);
    },
  },
  {
    name: "crash-leader",
    row: "B1",
    weight: 5,
    begin: (cluster) => crash(cluster, [leaderOrAny(cluster)]),
  },
  {
    name: "crash-follower",
    row: "B2",
    weight: 4,
    begin: (cluster) => crash(cluster, [follower(cluster)]),
  },
  {
    name: "crash-candidate",
    row: "B2",
    weight: 2,
    begin: (cluster) => {
      // Makes an election happen and stops a node in the middle of it.
      const undoLeader = isolate(cluster, leaderOrAny(cluster));
      const { electionTimeoutMsMin, electionTimeoutMsMax } = cluster.timing;
      const delayMs = cluster.dice.between(electionTimeoutMsMin, 1.2 * electionTimeoutMsMax);
      let undoCrash = (): void => {};
      const cancel = cluster.loop.after(delayMs, () => {
        const candidates = cluster.ids.filter((id) => {
          const role = cluster.host(id)?.core.role;
          return role === "candidate" || role === "preCandidate";
        });
        undoCrash = crash(cluster, [candidates[0] ?? cluster.dice.pick(cluster.ids)]);
      });
      return () => {
        // One that ends before its time crashes nobody, for nobody would start the node again.
        cancel();
        undoLeader();
        undoCrash();
      };
    },
  },
  {
    name: "stop-node",
    row: "B9",
    weight: 3,
    begin: (cluster) => {
      const id = cluster.dice.chance(0.5) ? leaderOrAny(cluster) : cluster.dice.pick(cluster.ids);
      const hasEnded = cluster.stop(id);
      const startAgain = (): void => {
        if (hasEnded()) cluster.start(id);
        else cluster.loop.after(STOP_POLL_MS, startAgain);
      };
      return startAgain;
    },
  },
  {
    name: "upgrade-node",
    row: "U1",
    weight: 1,
    isPossible: (cluster) => cluster.ids.some((id) => cluster.node(id).build < NEWEST_BUILD),
    begin: (cluster) => {
      const old = cluster.ids.filter((id) => cluster.node(id).build < NEWEST_BUILD);
      const id = cluster.dice.pick(old);
      const hasEnded = cluster.stop(id);
      const startAgain = (): void => {
        if (!hasEnded()) return void cluster.loop.after(STOP_POLL_MS, startAgain);
        cluster.node(id).build++;
        cluster.start(id);
      };
      return startAgain;
    },
  },
  {
    name: "reset-links",
    row: "A8",
    weight: 3,
    begin: (cluster) => {
      const { dice, loop, network } = cluster;
      for (let n = 0; n < 10; n++) {
        loop.after(n * dice.between(1, 100), () => {
          const [a, b] = dice.shuffle(cluster.ids);
          network.reset(a!, b!);
        });
      }
      return () => {};
    },
  },
  { name: "crash-all", row: "B3", weight: 1, begin: (cluster) => crash(cluster, cluster.ids) },
  {
    name: "crash-loop",
    row: "B8",
    weight: 1,
    begin: (cluster) => {
      const id = cluster.dice.pick(cluster.ids);
      for (let n = 0; n < 10; n++) {
        cluster.loop.after(n * 40, () => cluster.crash(id));
        cluster.loop.after(n * 40 + 25, () => cluster.start(id));
      }
      return () => cluster.start(id);
    },
  },
  {
    name: "pause-leader",
    row: "B4",
    weight: 3,
    begin: (cluster) => pause(cluster, leaderOrAny(cluster), cluster.dice.between(100, 10_000)),
  },
  {
    name: "stall-event-loop",
    row: "B5",
    weight: 3,
    begin: (cluster) =>
      pause(cluster, cluster.dice.pick(cluster.ids), cluster.dice.between(50, 2_000)),
  },
  {
    name: "clock-drift",
    row: "B6",
    weight: 2,
    begin: (cluster) => {
      for (const id of cluster.ids) {
        cluster.node(id).life?.setClockRate(cluster.dice.between(0.95, 1.05));
      }
      return () => {
        for (const id of cluster.ids) cluster.node(id).life?.setClockRate(1);
      };
    },
  },
  {
    name: "transfer-leadership",
    row: "B9",
    weight: 3,
    begin: (cluster) => {
      // Twice at once, to anybody: itself and nodes that are down included.
      for (const group of cluster.groups) {
        const raft = cluster.host(leaderOrAny(cluster), group)?.raft;
        for (let n = 0; n < 1 + cluster.dice.below(2); n++) {
          raft?.cast({ type: "Transfer", to: cluster.dice.pick(cluster.ids) });
        }
      }
      return () => {};
    },
  },
  {
    name: "fail-sync",
    row: "C5",
    weight: 2,
    begin: (cluster) => {
      const id = cluster.dice.pick(cluster.ids);
      cluster.node(id).diskQuality.failNextSync = true;
      return () => {
        cluster.node(id).diskQuality.failNextSync = false;
        cluster.start(id);
      };
    },
  },
  {
    name: "disk-full",
    row: "C6",
    weight: 1,
    begin: (cluster) => {
      // The disk of one node, or of all: a cluster whose disks are full serves again once they are not.
      const { dice } = cluster;
      const ids = dice.chance(0.7) ? [dice.pick(cluster.ids)] : cluster.ids;
      for (const id of ids) {
        cluster.node(id).disk.free = dice.chance(0.5) ? 0 : undefined;
        cluster.node(id).diskQuality.full = dice.chance(0.7);
      }
      return () => {
        for (const id of ids) {
          cluster.node(id).disk.free = undefined;
          cluster.node(id).diskQuality.full = false;
          cluster.start(id);
        }
      };
    },
  },
  {
    name: "wipe",
    row: "C8",
    // About one run of two or three minutes in three.
    weight: 0.6,
    isPossible: (cluster) => cluster.ids.some((id) => cluster.mayWipe(id)),
    begin: (cluster) => {
      const id = cluster.dice.pick(cluster.ids.filter((id) => cluster.mayWipe(id)));
      cluster.wipe(id);
      return () => cluster.start(id);
    },
  },
  {
    name: "damage-log",
    row: "C3",
    weight: 1,
    isPossible: (cluster) => cluster.ids.some((id) => cluster.mayDamage(id)),
    begin: (cluster) => {
      const id = cluster.dice.pick(cluster.ids.filter((id) => cluster.mayDamage(id)));
      cluster.damageLog(id);
      return () => cluster.start(id);
    },
  },
  {
    name: "add-member",
    row: "E1",
    weight: 3,
    isPossible: (cluster) => mayChange(cluster) && votersOf(cluster).length < VOTERS_MAX,
    begin: (cluster) => {
      const ids = [nextId(cluster), nextId(cluster) + 1].slice(0, 1 + cluster.dice.below(2));
      cluster.changeMembers({ add: ids.map(newMember) });
      return () => cluster.letJoin();
    },
  },
  {
    name: "remove-member",
    row: "E2",
    weight: 3,
    isPossible: (cluster) => mayChange(cluster) && votersOf(cluster).length > VOTERS_MIN,
    begin: (cluster) => {
      const { dice } = cluster;
      const voters = dice.shuffle(votersOf(cluster));
      const leader = cluster.leader();
      const remove = voters.slice(0, 1 + dice.below(voters.length - VOTERS_MIN));
      // The leader itself, too, and with a member that comes in the same step.
      if (leader !== undefined && voters.includes(leader) && dice.chance(0.3)) {
        remove.splice(0, 1, leader);
      }
      const add = dice.chance(0.3) ? [newMember(nextId(cluster))] : [];
      cluster.changeMembers({ remove: [...new Set(remove)], add });
      return () => cluster.letJoin();
    },
  },
  {
    name: "demote-member",
    row: "E3",
    weight: 4,
    isPossible: (cluster) => mayChange(cluster) && votersOf(cluster).length > VOTERS_MIN,
    begin: (cluster) => {
      const id = cluster.dice.pick(votersOf(cluster));
      cluster.changeMembers({ demote: [id] });
      return () => cluster.changeMembers({ promote: [id] });
    },
  },
  {
    name: "replace-member",
    row: "E4",
    weight: 1,
    isPossible: mayChange,
    begin: (cluster) => {
      const id = cluster.dice.pick(votersOf(cluster));
      cluster.changeMembers({ replace: [{ id, by: newMember(nextId(cluster)) }] });
      return () => cluster.letJoin();
    },
  },
  {
    name: "replace-disk",
    row: "E5",
    // It is seldom possible.
    weight: 60,
    isPossible: (cluster) => mayChange(cluster) && cluster.lost.length > 0,
    begin: (cluster) => {
      cluster.changeMembers({ replace: [{ id: cluster.dice.pick(cluster.lost) }] });
      return () => {};
    },
  },
  {
    name: "slow-disk",
    row: "C7",
    weight: 3,
    begin: (cluster) => {
      const id = cluster.dice.pick(cluster.ids);
      cluster.node(id).diskQuality.syncMsMean = cluster.dice.between(10, 2_000);
      return () => void (cluster.node(id).diskQuality.syncMsMean = GOOD_DISK.syncMsMean);
    },
  },
];

/** Undoes every fault at once, and starts what is down. */
export function healEverything(cluster: SimCluster, ids: readonly NodeId[] = cluster.ids): void {
  cluster.network.heal();
  cluster.network.quality = { ...GOOD_NETWORK };
  for (const id of ids) {
    const node = cluster.node(id);
    Object.assign(node.diskQuality, GOOD_DISK);
    node.disk.free = undefined;
    node.life?.setClockRate(1);
    cluster.start(id);
  }
}

/** Voters from three to five, so that a run has both and all in between. */
const VOTERS_MIN = 3;
const VOTERS_MAX = 5;

/** Members change where one group decides who they are, and once every build knows that they may. */
function mayChange(cluster: SimCluster): boolean {
  const { config } = cluster.members;
  return cluster.groups.length === 1 && cluster.leader() !== undefined &&
    config.clusterVersion >= MEMBERS_VERSION && config.outgoing.length === 0;
}

function votersOf(cluster: SimCluster): NodeId[] {
  return [...cluster.members.config.voters];
}

/** Ids are used once; only a lost disk's comes again. */
function nextId(cluster: SimCluster): NodeId {
  const members = cluster.members.config.members.map(({ id }) => id);
  return Math.max(...cluster.nodes.keys(), ...members) + 1;
}

/** A member with the address that the simulated network gives it. */
export function newMember(id: NodeId): NewMember {
  return { id, raft: formatHostPort(SimNetwork.addressOf(id)), http: "" };
}

function leaderOrAny(cluster: SimCluster): NodeId {
  return cluster.leader(cluster.dice.pick(cluster.groups)) ?? cluster.dice.pick(cluster.ids);
}

function follower(cluster: SimCluster): NodeId {
  return cluster.dice.pick(others(cluster, leaderOrAny(cluster)));
}

function others(cluster: SimCluster, id: NodeId): NodeId[] {
  return cluster.ids.filter((other) => other !== id);
}

function isolate(cluster: SimCluster, id: NodeId): () => void {
  cluster.network.partition([id], others(cluster, id));
  return () => cluster.network.heal();
}

function crash(cluster: SimCluster, ids: readonly NodeId[]): () => void {
  const keepCache = cluster.dice.chance(0.3);
  for (const id of ids) cluster.crash(id, { keepCache });
  return () => {
    for (const id of ids) cluster.start(id);
  };
}

function pause(cluster: SimCluster, id: NodeId, durationMs: number): () => void {
  cluster.say(`fault node ${id}  paused ms=${Math.round(durationMs)}`);
  cluster.node(id).life?.pause(durationMs);
  return () => {};
}
