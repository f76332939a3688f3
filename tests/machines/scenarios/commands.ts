/**
 * The commands of a scenario's script.
 *
 * @module
 */
import type { NodeId } from "../../../machines/raft_types.ts";
import { factOf, shownFacts } from "./facts.ts";
import { type Stage, TELLINGS } from "./stage.ts";
import type { Words } from "./words.ts";

/**
 * Time that one command may let pass, in milliseconds; a script that wants more has a slip in it.
 */
export const ELAPSE_MS_MAX = 60_000;

/** A command: how it is written, what it does, and how it does it. */
export interface Command {
  readonly usage: string;
  readonly meaning: string;
  readonly run: (stage: Stage, words: Words) => void;
}

/** All commands by their first word. */
export const commands: Readonly<Record<string, Command>> = {
  voters: {
    usage: "voters NODES [term T] [log TERMS]",
    meaning: "members that vote; they begin in a term, with entries of these terms",
    run: (stage, words) => stage.addMembers("voter", words.ids(), words.options("term", "log")),
  },
  learners: {
    usage: "learners NODES [term T] [log TERMS]",
    meaning: "members that only receive the log",
    run: (stage, words) => stage.addMembers("learner", words.ids(), words.options("term", "log")),
  },
  seed: {
    usage: "seed N",
    meaning: "election timeouts are drawn from this",
    run: (stage, words) => stage.seed(words.number()),
  },
  "append-bytes": {
    usage: "append-bytes N",
    meaning: "entry bytes in one AppendEntries; with 1 each entry goes alone",
    run: (stage, words) => stage.bound({ appendBytesMax: words.number() }),
  },
  "inflight-messages": {
    usage: "inflight-messages N",
    meaning: "AppendEntries with entries that may be under way to a follower",
    run: (stage, words) => stage.bound({ inflightMessagesMax: words.number() }),
  },
  tell: {
    usage: `tell ${TELLINGS.join("|")}`,
    meaning: "brief, the default, leaves out heartbeats and answers that accept",
    run: (stage, words) => stage.telling = words.oneOf(TELLINGS),
  },
  timeout: {
    usage: "timeout NODE",
    meaning: "time passes until its election timeout elapses; no other timer runs",
    run: (stage, words) => stage.cluster.timeout(waiting(stage, words)),
  },
  campaign: {
    usage: "campaign NODE",
    meaning: "the longest election timeout passes, then `timeout NODE`",
    run: (stage, words) => stage.cluster.campaign(waiting(stage, words)),
  },
  elect: {
    usage: "elect NODE",
    meaning: "`campaign NODE`, then `settle`; the node must lead",
    run: (stage, words) => stage.cluster.elect(waiting(stage, words)),
  },
  heartbeat: {
    usage: "heartbeat NODE",
    meaning: "time passes until this leader owes a heartbeat; no other timer runs",
    run: (stage, words) => {
      const id = stage.running(words.id());
      const { leadership } = stage.core(id).state;
      if (leadership === undefined) throw new Error(`node ${id} does not lead`);
      stage.cluster.nowMs = Math.max(stage.cluster.nowMs, leadership.heartbeatDeadlineMs);
      stage.cluster.turn(id, (core) => core.elapse());
    },
  },
  wake: {
    usage: "wake NODES",
    meaning: "these nodes run the timers that are due by now",
    run: (stage, words) =>
      forEach(stage, words, (id) => stage.cluster.turn(id, (core) => core.elapse())),
  },
  elapse: {
    usage: "elapse N ms",
    meaning: "time passes, all timers run, all messages arrive that are not held",
    run: (stage, words) => {
      const durationMs = words.number();
      words.literal("ms");
      if (durationMs > ELAPSE_MS_MAX) throw new Error(`at most ${ELAPSE_MS_MAX} ms pass at a time`);
      stage.cluster.elapse(durationMs);
    },
  },
  settle: {
    usage: "settle [TYPES]",
    meaning: "messages that are not held arrive, and what they cause, until all is quiet",
    run: (stage, words) => {
      const types = words.types();
      stage.cluster.settle(types.length === 0 ? undefined : types);
    },
  },
  deliver: {
    usage: "deliver NODES -> NODES [TYPES]",
    meaning: "what is under way now arrives, held or not; what it causes does not",
    run: (stage, words) => {
      for (const envelope of stage.take(words)) {
        stage.running(envelope.to);
        stage.tell(envelope, "");
        stage.cluster.deliver(envelope);
      }
    },
  },
  drop: {
    usage: "drop NODES -> NODES [TYPES]",
    meaning: "what is under way now is lost",
    run: (stage, words) => {
      for (const envelope of stage.take(words)) stage.tell(envelope, " (lost)");
    },
  },
  hold: {
    usage: "hold NODES -> NODES [TYPES]",
    meaning: "such messages stay under way until `deliver`, `drop` or `heal`",
    run: (stage, words) => stage.hold(stage.link(words)),
  },
  lose: {
    usage: "lose NODES -> NODES [TYPES]",
    meaning: "such messages are lost until `heal`",
    run: (stage, words) => stage.lose(stage.link(words)),
  },
  partition: {
    usage: "partition NODES | NODES",
    meaning: "what goes from one side to the other is lost until `heal`",
    run: (stage, words) => {
      const one = stage.members(words.ids());
      words.literal("|");
      const other = stage.members(words.ids());
      stage.lose(({ to, message: { from } }) =>
        (one.includes(from) && other.includes(to)) || (other.includes(from) && one.includes(to))
      );
    },
  },
  heal: {
    usage: "heal",
    meaning: "nothing is lost or held any more",
    run: (stage) => stage.heal(),
  },
  "hold-sync": {
    usage: "hold-sync NODES",
    meaning: "their writes stay unsynced until `sync` or `free-sync`",
    run: (stage, words) => forEach(stage, words, (id) => stage.cluster.node(id).holdSync = true),
  },
  sync: {
    usage: "sync NODES [N]",
    meaning: "the syncs of the N oldest writes that are held end; without N, of all",
    run: (stage, words) => {
      const ids = stage.members(words.ids());
      const count = words.isAtEnd ? Infinity : words.number();
      for (const id of ids) {
        const { length } = stage.cluster.node(stage.running(id)).unsynced;
        if (length === 0) throw new Error(`node ${id} has no write to sync`);
        for (let left = Math.min(count, length); left > 0; left--) stage.cluster.syncOne(id);
      }
    },
  },
  "free-sync": {
    usage: "free-sync NODES",
    meaning: "all syncs that are held end, and later ones end at once",
    run: (stage, words) =>
      forEach(stage, words, (id) => {
        stage.cluster.node(id).holdSync = false;
        stage.cluster.sync(id);
      }),
  },
  disk: {
    usage: "disk NODES slow|stalled|recovered",
    meaning: "their hosts find the disk slow, stalled, or well again",
    run: (stage, words) => {
      const ids = stage.members(words.ids());
      const condition = words.oneOf(["slow", "stalled", "recovered"]);
      const type = `Disk${condition[0]!.toUpperCase()}${condition.slice(1)}` as
        | "DiskSlow"
        | "DiskStalled"
        | "DiskRecovered";
      for (const id of ids) stage.cluster.turn(stage.running(id), (core) => core.disk(type));
    },
  },
  crash: {
    usage: "crash NODES",
    meaning: "their processes end; writes that are not synced are lost",
    run: (stage, words) => forEach(stage, words, (id) => stage.watched.crash(id)),
  },
  restart: {
    usage: "restart NODES",
    meaning: "they start from their disks",
    run: (stage, words) => {
      for (const id of stage.members(words.ids())) {
        if (stage.cluster.node(id).running) throw new Error(`node ${id} is not down`);
        stage.cluster.restart(id);
      }
    },
  },
  propose: {
    usage: "propose NODE TEXT",
    meaning: "a client proposes a command",
    run: (stage, words) => stage.propose(stage.running(words.id()), words.next("a text")),
  },
  read: {
    usage: "read NODE",
    meaning: "a client asks for a linearizable read; reads are numbered from 1",
    run: (stage, words) => stage.watched.read(stage.running(words.id())),
  },
  transfer: {
    usage: "transfer NODE -> NODE",
    meaning: "the first node is asked to hand its leadership to the second",
    run: (stage, words) => {
      const from = stage.running(words.id());
      words.literal("->");
      const to = words.id();
      stage.cluster.turn(from, (core) => core.transfer(to));
    },
  },
  show: {
    usage: "show NODES [FACTS]",
    meaning: "prints facts of nodes",
    run: (stage, words) => {
      const ids = stage.members(words.ids());
      const names = words.rest();
      for (const id of ids) {
        const shown = names.length > 0 ? names : shownFacts(stage.cluster, id);
        const facts = shown.map((name) => `${name}=${factOf(stage.cluster, id, name)}`);
        stage.cluster.say("show", id, facts.join(" "));
      }
    },
  },
  expect: {
    usage: "expect NODES FACT=VALUE…",
    meaning: "the scenario fails unless these nodes have these facts",
    run: (stage, words) => {
      const ids = stage.members(words.ids());
      const expected = words.rest();
      if (expected.length === 0) throw new Error("there is nothing to expect");
      for (const id of ids) for (const each of expected) expectFact(stage, id, each);
    },
  },
};

/** A node that waits for a leader or for votes, and so has an election timeout. */
function waiting(stage: Stage, words: Words): NodeId {
  const id = stage.running(words.id());
  if (stage.core(id).state.electionDeadlineMs === undefined) {
    throw new Error(`node ${id} leads, so it has no election timeout`);
  }
  return id;
}

function forEach(stage: Stage, words: Words, act: (id: NodeId) => void): void {
  for (const id of stage.members(words.ids())) act(stage.running(id));
}

function expectFact(stage: Stage, id: NodeId, expected: string): void {
  const at = expected.indexOf("=");
  if (at < 0) throw new Error(`"${expected}" is not of the form FACT=VALUE`);
  const name = expected.slice(0, at);
  const actual = `${name}=${factOf(stage.cluster, id, name)}`;
  if (actual !== expected) throw new Error(`node ${id} has ${actual}, not ${expected}`);
}
