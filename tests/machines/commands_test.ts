/**
 * Random commands against clusters of bare cores, each command followed by every check of
 * watched_cluster.ts, and the proof that the same run finds planted defects.
 *
 * A failure prints fast-check's seed and path, and the shortest list of commands that fails. To
 * repeat it: `COMMANDS_SEED=<seed> deno test --allow-env tests/machines/commands_test.ts`.
 *
 * @module
 */
import { assert, assertGreater, assertMatch } from "@std/assert";
import fc from "fast-check";
import { quorumValue } from "../../machines/quorum.ts";
import type { RaftCore } from "../../machines/raft_core.ts";
import type { NodeId } from "../../machines/raft_types.ts";
import { DEFAULT_TIMING, type GroupState } from "../../machines/group_state.ts";
import { WatchedCluster } from "./watched_cluster.ts";

/** Runs of up to COMMANDS_MAX commands, for each size of cluster. */
const RUNS = 1_200;
const COMMANDS_MAX = 120;
/** Runs after which a planted defect must have been found. */
const MUTANT_RUNS_MAX = 8_000;

type Real = WatchedCluster;
type Act = (real: Real) => void;

/** One command; whatever does not apply does nothing, so that shrinking can drop any other. */
class Command implements fc.Command<object, Real> {
  readonly #text: string;
  readonly #act: Act;

  constructor(text: string, act: Act) {
    this.#text = text;
    this.#act = act;
  }

  check(): boolean {
    return true;
  }

  run(_model: object, real: Real): void {
    this.#act(real);
    real.check();
  }

  toString(): string {
    return this.#text;
  }
}

/** A command about one node, if it runs. */
function atNode(name: string, act: (real: Real, id: NodeId) => void): fc.Arbitrary<Command> {
  return fc.nat(4).map((at) =>
    new Command(`${name}(${at})`, (real) => {
      const id = real.ids[at % real.ids.length]!;
      if (real.cluster.node(id).running) act(real, id);
    })
  );
}

/** A command about one message under way. */
function atMessage(name: string, act: (real: Real, at: number) => void): fc.Arbitrary<Command> {
  return fc.nat(30).map((at) =>
    new Command(`${name}(${at})`, (real) => {
      const { length } = real.cluster.inFlight;
      if (length > 0) act(real, at % length);
    })
  );
}

/** fc.commands draws evenly from its list, so a command that should come often is listed often. */
function often<Value>(times: number, arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value>[] {
  return Array.from({ length: times }, () => arbitrary);
}

/** The node's election timeout elapses after nobody has heard a leader for long enough. */
function campaign({ cluster }: Real, id: NodeId): void {
  cluster.nowMs += DEFAULT_TIMING.electionTimeoutMsMax;
  if (cluster.core(id).state.electionDeadlineMs !== undefined) cluster.timeout(id);
}

const commands: fc.Arbitrary<Command>[] = [
  atNode("timeout", ({ cluster }, id) => {
    if (cluster.core(id).state.electionDeadlineMs !== undefined) cluster.timeout(id);
  }),
  ...often(3, atNode("campaign", (real, id) => campaign(real, id))),
  ...often(
    3,
    atNode("elect", (real, id) => {
      campaign(real, id);
      real.deliverSome(40);
    }),
  ),
  ...often(
    3,
    atNode("beat", ({ cluster }, id) => {
      const { leadership } = cluster.core(id).state;
      if (leadership === undefined) return;
      cluster.nowMs = Math.max(cluster.nowMs, leadership.heartbeatDeadlineMs);
      cluster.turn(id, (core) => core.elapse());
    }),
  ),
  atNode("wake", ({ cluster }, id) => cluster.turn(id, (core) => core.elapse())),
  atNode("propose", (real, id) => real.propose(id)),
  ...often(
    2,
    fc.tuple(fc.nat(4), fc.nat(4)).map(([one, other]) =>
      new Command(`duel(${one}, ${other})`, (real) => {
        // Both could win: their requests for votes are under way at the same time.
        for (const at of [one, other]) {
          const id = real.ids[at % real.ids.length]!;
          if (real.cluster.node(id).running) campaign(real, id);
        }
        real.cluster.settle(["PreVote", "PreVoteReply"]);
      })
    ),
  ),
  ...often(
    4,
    fc.constant(
      new Command("proposeAtLeader()", (real) => {
        const { leader } = real.cluster;
        if (leader !== undefined) real.propose(leader);
      }),
    ),
  ),
  ...often(2, atNode("read", (real, id) => real.read(id))),
  fc.tuple(fc.nat(4), fc.nat(4)).map(([at, to]) =>
    new Command(`transfer(${at}, ${to})`, ({ cluster, ids }) => {
      const id = ids[at % ids.length]!;
      if (!cluster.node(id).running) return;
      cluster.turn(id, (core) => core.transfer(ids[to % ids.length]!));
    })
  ),
  ...often(4, atMessage("deliver", (real, at) => real.deliver(at))),
  atNode("batch", (real, id) => real.deliverBatch(id)),
  atMessage("drop", ({ cluster }, at) => void cluster.inFlight.splice(at, 1)),
  atMessage("duplicate", ({ cluster }, at) => {
    cluster.inFlight.push(cluster.inFlight[at]!);
  }),
  ...often(
    6,
    fc.integer({ min: 1, max: 40 }).map((count) =>
      new Command(`deliverSome(${count})`, (real) => real.deliverSome(count))
    ),
  ),
  atNode("crash", (real, id) => real.crash(id)),
  ...often(
    2,
    atNode("bounce", (real, id) => {
      real.crash(id);
      real.cluster.restart(id);
    }),
  ),
  fc.constant(
    new Command("wait()", ({ cluster }) => {
      cluster.nowMs += DEFAULT_TIMING.electionTimeoutMsMin;
    }),
  ),
  ...often(
    3,
    fc.nat(4).map((at) =>
      new Command(`restart(${at})`, ({ cluster, ids }) => {
        const id = ids[at % ids.length]!;
        if (!cluster.node(id).running) cluster.restart(id);
      })
    ),
  ),
  atNode("holdDisk", ({ cluster }, id) => {
    cluster.node(id).holdSync = true;
  }),
  atNode("syncOne", ({ cluster }, id) => cluster.syncOne(id)),
  atNode("syncAll", ({ cluster }, id) => {
    cluster.node(id).holdSync = false;
    cluster.sync(id);
  }),
  fc.nat(30).map((sides) =>
    new Command(`partition(${sides})`, ({ cluster, ids }) => {
      const one = ids.filter((_id, at) => ((sides >> at) & 1) === 1);
      cluster.partition(one, ids.filter((id) => !one.includes(id)));
    })
  ),
  ...often(3, fc.constant(new Command("heal()", ({ cluster }) => cluster.heal()))),
];

/** A defect to plant. */
interface Mutant {
  readonly onBoot?: (id: NodeId, core: RaftCore, real: () => Real) => void;
  readonly onRestart?: (real: Real, id: NodeId) => void;
}

function build(voters: readonly NodeId[], mutant: Mutant = {}): Real {
  const real: Real = new WatchedCluster({
    voters,
    onBoot: (id, core) => mutant.onBoot?.(id, core, () => real),
  });
  const { cluster } = real;
  const restart = cluster.restart.bind(cluster);
  cluster.restart = (id) => {
    mutant.onRestart?.(real, id);
    restart(id);
  };
  return real;
}

const VOTERS = { 3: [1, 2, 3], 5: [1, 2, 3, 4, 5] } as const;
const SEED = Number(Deno.env.get("COMMANDS_SEED") ?? 20260727);

for (const size of [3, 5] as const) {
  Deno.test(`commands: nothing that must hold is broken by random commands on ${size} nodes`, () => {
    let committed = 0;
    let reads = 0;
    let leaders = 0;
    fc.assert(
      fc.property(fc.commands(commands, { maxCommands: COMMANDS_MAX, size: "max" }), (sequence) => {
        const real = build(VOTERS[size]);
        fc.modelRun(() => ({ model: {}, real }), sequence);
        committed += real.ledger.length;
        reads += real.readsServed;
        if (real.cluster.leader !== undefined) leaders++;
      }),
      { numRuns: RUNS, seed: SEED },
    );
    // A run that gets nowhere proves nothing.
    assertGreater(committed, RUNS);
    assertGreater(reads, RUNS / 10);
    assertGreater(leaders, RUNS / 4);
  });
}

/** Changes what a core gives to its host at the end of a turn. */
function atEndOfTurn(
  core: RaftCore,
  changes: {
    readonly before?: () => void;
    readonly after?: (outbox: ReturnType<RaftCore["endTurn"]>) => void;
  },
): void {
  const endTurn = core.endTurn.bind(core);
  core.endTurn = () => {
    changes.before?.();
    const outbox = endTurn();
    changes.after?.(outbox);
    return outbox;
  };
}

function stateOf(core: RaftCore): GroupState {
  return core.state as GroupState;
}

/** Defects, each a rule left out, and the words in which they must be found out. */
const mutants: Readonly<Record<string, Mutant & { readonly found: RegExp }>> = {
  "forgets votedFor when it restarts": {
    found: /two votes|two leaders/,
    onRestart: ({ cluster }, id) => {
      const { disk } = cluster.node(id);
      disk.hardState = { ...disk.hardState, votedFor: undefined };
    },
  },
  "acknowledges entries before its disk has them": {
    found: /on the disks of/,
    onBoot: (_id, core) => {
      const state = stateOf(core);
      state.sendWhenDurable = (to, message) => state.send(to, message);
    },
  },
  "commits entries of earlier terms by counting": {
    found: /by counting/,
    onBoot: (id, core) =>
      atEndOfTurn(core, {
        before: () => {
          if (core.role !== "leader") return;
          const state = stateOf(core);
          const index = quorumValue(
            core.context,
            (voter) =>
              voter === id ? state.durableIndex : state.lead.progress.get(voter)?.matchIndex ?? 0,
          );
          state.commitIndex = Math.max(state.commitIndex, index);
        },
      }),
  },
  "lets a read join the round that is running": {
    found: /stale read/,
    onBoot: (_id, core) => {
      const read = core.read.bind(core);
      core.read = (readIds) => {
        const running = core.state.leadership?.reads.running;
        if (running !== undefined) {
          (running.readIds as number[]).push(...readIds);
        } else read(readIds);
      };
    },
  },
  "reads before an entry of its own term is committed": {
    found: /stale read/,
    onBoot: (_id, core) =>
      atEndOfTurn(core, {
        before: () => {
          const { leadership, commitIndex } = core.state;
          if (leadership === undefined) return;
          const { reads, progress } = leadership;
          if (!reads.hasWaiting || reads.running !== undefined) return;
          reads.begin(++stateOf(core).lastRound, commitIndex);
          for (const each of progress.values()) each.beatDue = true;
        },
      }),
  },
  "votes for a candidate whose log is behind": {
    found: /lacks committed|would replace a committed one/,
    onBoot: (_id, core) => {
      const receive = core.receive.bind(core);
      core.receive = (message) =>
        receive(
          message.type === "RequestVote" || message.type === "PreVote"
            ? { ...message, lastLogTerm: Number.MAX_SAFE_INTEGER }
            : message,
        );
    },
  },
  "counts its own entries before its disk has them": {
    found: /on the disks of|to be durable/,
    onBoot: (_id, core) =>
      atEndOfTurn(core, {
        before: () => {
          stateOf(core).durableIndex = core.state.log.lastIndex;
        },
      }),
  },
};

for (const [name, { found, ...mutant }] of Object.entries(mutants)) {
  Deno.test(`commands: the same commands find a node that ${name}`, () => {
    const details = fc.check(
      fc.property(fc.commands(commands, { maxCommands: COMMANDS_MAX, size: "max" }), (sequence) => {
        fc.modelRun(() => ({ model: {}, real: build(VOTERS[3], mutant) }), sequence);
      }),
      { numRuns: MUTANT_RUNS_MAX, seed: SEED, endOnFailure: true },
    );
    assert(details.failed, `not found in ${MUTANT_RUNS_MAX} runs`);
    assertMatch(String(details.errorInstance), found);
  });
}
