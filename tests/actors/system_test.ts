/**
 * The actor system on virtual ports: turns, calls, supervision, death watch, stopping, and two
 * systems on one link.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import {
  Actor,
  type ActorContext,
  type ActorRef,
  ActorStoppedError,
  type Address,
  CallTimeoutError,
  type Delivery,
  type LocalRef,
  MailboxFullError,
  MessageRefusedError,
  type Outcome,
  RemoteError,
  type StopReason,
  UnreachableError,
} from "../../actors/runtime/actor.ts";
import type { RemoteContract, Supervision } from "../../actors/runtime/cell.ts";
import {
  BATCH_MESSAGES_MAX,
  CALL_TIMEOUT_MS_MAX,
  DEADLINE_RESOLUTION_MS,
  MAILBOX_CAPACITY,
  RESTART_BACK_OFF_MS_MIN,
  TURNS_PER_DRAIN_MAX,
} from "../../actors/runtime/limits.ts";
import type { WhenFull } from "../../actors/runtime/mailbox.ts";
import { ActorSystem, type SystemFailure } from "../../actors/runtime/system.ts";
import type { ActorWire } from "../../transport/wire/messages.ts";
import { memoryLog, VirtualPorts } from "./virtual_ports.ts";

type Any = Delivery<unknown, unknown>;

/** An actor of functions. */
class Scripted extends Actor<unknown, unknown, unknown> {
  readonly #script: Script;

  constructor(script: Script) {
    super();
    this.#script = script;
  }

  override receive(batch: readonly Any[]): void {
    this.#script.receive?.(batch);
  }
  override onStart(context: ActorContext): void {
    this.#script.onStart?.(context);
  }
  override onStop(reason: StopReason): void {
    this.#script.onStop?.(reason);
  }
  override onTerminated(address: Address): void {
    this.#script.onTerminated?.(address);
  }
}

interface Script {
  readonly receive?: (batch: readonly Any[]) => void;
  readonly onStart?: (context: ActorContext) => void;
  readonly onStop?: (reason: StopReason) => void;
  readonly onTerminated?: (address: Address) => void;
}

class World {
  readonly ports = new VirtualPorts();
  readonly failures: SystemFailure[] = [];
  readonly logged = memoryLog();
  readonly system = this.node(1);

  node(id: number): ActorSystem {
    return new ActorSystem({
      node: id,
      ports: this.ports,
      log: this.logged.log,
      onFailed: (failure) => this.failures.push(failure),
    });
  }

  spawn(
    name: string,
    script: Script,
    options: {
      system?: ActorSystem;
      supervision?: Supervision;
      capacity?: number;
      whenFull?: WhenFull;
      batchMax?: number;
      remote?: RemoteContract<unknown>;
    } = {},
  ): LocalRef<unknown, unknown, unknown> {
    const { system = this.system, supervision = { policy: "stop" }, ...rest } = options;
    const create = (): Scripted => new Scripted(script);
    const remote: RemoteContract<unknown> = (value) => value;
    return system.spawn<unknown, unknown, unknown>({
      name,
      group: 0,
      create,
      supervision,
      remote,
      ...rest,
    });
  }

  ask(ref: ActorRef<unknown, unknown>, message: unknown, timeoutMs = 1_000): Outcome<unknown>[] {
    const outcomes: Outcome<unknown>[] = [];
    ref.ask(message, { timeoutMs }, (outcome) => outcomes.push(outcome));
    return outcomes;
  }
}

function errorOf(outcomes: readonly Outcome<unknown>[]): Error {
  assertEquals(outcomes.length, 1);
  const [outcome] = outcomes;
  assert(outcome !== undefined && !outcome.ok, "a failure");
  return outcome.error;
}

const echo: Script = {
  receive: (batch) => batch.forEach((delivery) => delivery.reply(delivery.message)),
};

Deno.test("turns: what was cast before the turn arrives as one batch, in order", () => {
  const world = new World();
  const batches: unknown[][] = [];
  const ref = world.spawn("a", { receive: (batch) => batches.push(batch.map((d) => d.message)) });
  for (let i = 0; i < 5; i++) assert(ref.cast(i));
  assertEquals(batches, []);
  world.ports.turn();
  assertEquals(batches, [[0, 1, 2, 3, 4]]);
  assertEquals(world.ports.scheduled, 1);
});

Deno.test("turns: a batch has at most its limit, the rest comes behind the other actors", () => {
  const world = new World();
  const seen: string[] = [];
  const note = (name: string): Script => ({
    receive: (batch) => seen.push(`${name}:${batch.length}`),
  });
  const a = world.spawn("a", note("a"));
  const b = world.spawn("b", note("b"), { batchMax: 2 });
  for (let i = 0; i < BATCH_MESSAGES_MAX + 1; i++) a.cast(i);
  for (let i = 0; i < 3; i++) b.cast(i);
  world.ports.turn();
  assertEquals(seen, [`a:${BATCH_MESSAGES_MAX}`, "b:2", "a:1", "b:1"]);
});

Deno.test("turns: mail of the drain is handled in the same drain", () => {
  const world = new World();
  const seen: string[] = [];
  const kv = world.spawn("kv", { receive: () => seen.push("kv") });
  const wal = world.spawn("wal", {
    receive: () => {
      seen.push("wal");
      kv.cast("apply");
    },
  });
  const raft = world.spawn("raft", {
    receive: () => {
      seen.push("raft");
      wal.cast("append");
    },
  });
  raft.cast("propose");
  world.ports.turn();
  assertEquals(seen, ["raft", "wal", "kv"]);
  assertEquals(world.ports.scheduled, 1);
});

Deno.test("turns: two actors that keep each other busy leave the event loop its turns", () => {
  const world = new World();
  let turns = 0;
  const refs: ActorRef<unknown, unknown>[] = [];
  const play = (other: number): Script => ({
    receive: () => {
      turns++;
      refs[other]!.cast("again");
    },
  });
  refs.push(world.spawn("ping", play(1)), world.spawn("pong", play(0)));
  refs[0]!.cast("start");
  world.ports.turn();
  assertEquals(turns, TURNS_PER_DRAIN_MAX);
  world.ports.turn();
  assertEquals(turns, 2 * TURNS_PER_DRAIN_MAX);
});

Deno.test("turns: a callback that asks again at once leaves the event loop its turns", () => {
  const world = new World();
  let asked = 0;
  const nobody = world.system.ref({ node: 1, name: "nobody", group: 0 });
  const again = (): void => {
    asked++;
    nobody.ask("x", { timeoutMs: 10 }, again);
  };
  again();
  world.ports.turn();
  assert(asked <= TURNS_PER_DRAIN_MAX + 1, String(asked));
});

Deno.test("call: the reply comes back, later turns and callbacks included", () => {
  const world = new World();
  const held: Any[] = [];
  const ref = world.spawn("a", { receive: (batch) => held.push(...batch) });
  const outcomes = world.ask(ref, "q");
  world.ports.settle();
  assertEquals(outcomes, []);
  held[0]!.reply("r");
  held[0]!.reply("s");
  held[0]!.fail(new Error("too late"));
  assertEquals(outcomes, [], "never from within reply");
  world.ports.settle();
  assertEquals(outcomes, [{ ok: true, value: "r" }]);
  assertEquals([world.system.status().pendingCalls, world.ports.armedTimers], [0, 0]);
});

Deno.test("call: as a promise it resolves and rejects", async () => {
  const world = new World();
  const ref = world.spawn("a", {
    receive: (batch) =>
      batch.forEach((d) => d.message === "bad" ? d.fail(new RangeError("no")) : d.reply("yes")),
  });
  const good = ref.call("good", { timeoutMs: 10 });
  const bad = assertRejects(() => ref.call("bad", { timeoutMs: 10 }), RangeError, "no");
  world.ports.settle();
  assertEquals(await good, "yes");
  await bad;
});

Deno.test("call: a deadline is kept, and the answer after it counts for nothing", () => {
  const world = new World();
  const held: Any[] = [];
  const ref = world.spawn("a", { receive: (batch) => held.push(...batch) });
  const outcomes = world.ask(ref, "q", 100);
  world.ports.advance(99);
  assertEquals(outcomes, []);
  world.ports.advance(1 + DEADLINE_RESOLUTION_MS);
  const error = errorOf(outcomes);
  assertInstanceOf(error, CallTimeoutError);
  assertEquals([error.outcome, error.timeoutMs], ["unknown", 100]);
  held[0]!.reply("late");
  world.ports.settle();
  assertEquals(outcomes.length, 1);
});

Deno.test("call: a thousand deadlines take one timer", () => {
  const world = new World();
  const ref = world.spawn("a", {});
  for (let i = 1; i <= 1_000; i++) world.ask(ref, i, i);
  assertEquals(world.ports.armedTimers, 1);
  world.ports.advance(1_000 + DEADLINE_RESOLUTION_MS);
  assertEquals([world.system.status().pendingCalls, world.ports.armedTimers], [0, 0]);
});

Deno.test("call: a timeout out of range is refused", async () => {
  const world = new World();
  const ref = world.spawn("a", echo);
  for (const timeoutMs of [0, -1, NaN, CALL_TIMEOUT_MS_MAX + 1]) {
    assertThrows(() => world.ask(ref, "q", timeoutMs), RangeError, "Cannot call node/1/a/0");
    await assertRejects(() => ref.call("q", { timeoutMs }), RangeError);
  }
});

Deno.test("mailbox policy refuse: the sender is told", () => {
  const world = new World();
  const seen: unknown[] = [];
  const ref = world.spawn("a", { receive: (batch) => seen.push(...batch.map((d) => d.message)) }, {
    capacity: 2,
    whenFull: "refuse",
  });
  assertEquals([ref.cast(1), ref.cast(2), ref.cast(3)], [true, true, false]);
  const refused = world.ask(ref, 4);
  world.ports.settle();
  const error = errorOf(refused);
  assertInstanceOf(error, MailboxFullError);
  assertEquals(error.outcome, "not-delivered");
  assertEquals(seen, [1, 2]);
  assertEquals(world.system.metrics()[0], {
    address: "node/1/a/0",
    turns: 1,
    messages: 2,
    dropped: 2,
    restarts: 0,
    waiting: 0,
    waitingMax: 2,
  });
});

Deno.test("mailbox policy drop-newest: the new message is lost in silence, a call is told", () => {
  const world = new World();
  const seen: unknown[] = [];
  const ref = world.spawn("a", { receive: (batch) => seen.push(...batch.map((d) => d.message)) }, {
    capacity: 1,
    whenFull: "drop-newest",
  });
  assertEquals([ref.cast(1), ref.cast(2)], [true, true]);
  const refused = world.ask(ref, 3);
  world.ports.settle();
  assertInstanceOf(errorOf(refused), MailboxFullError);
  assertEquals(seen, [1]);
});

Deno.test("mailbox policy drop-oldest: the oldest makes room, its call is told", () => {
  const world = new World();
  const seen: unknown[] = [];
  const ref = world.spawn("a", { receive: (batch) => seen.push(...batch.map((d) => d.message)) }, {
    capacity: 2,
    whenFull: "drop-oldest",
  });
  const oldest = world.ask(ref, 1);
  assertEquals([ref.cast(2), ref.cast(3)], [true, true]);
  world.ports.settle();
  assertInstanceOf(errorOf(oldest), MailboxFullError);
  assertEquals(seen, [2, 3]);
});

Deno.test("mailbox: the default capacity is the documented one", () => {
  const world = new World();
  const ref = world.spawn("a", {});
  for (let i = 0; i < MAILBOX_CAPACITY; i++) assert(ref.cast(i));
  assertEquals(ref.cast("one more"), false);
});

Deno.test("supervision stop-system: everything stops, nobody is left waiting", () => {
  const world = new World();
  const stops: string[] = [];
  const bystander = world.spawn("kv", {
    onStop: (reason) => stops.push(`kv ${reason}`),
  });
  const wal = world.spawn("wal", {
    receive: () => {
      throw new Error("disk gone");
    },
    onStop: (reason) => stops.push(`wal ${reason}`),
  }, { supervision: { policy: "stop-system" } });
  const waiting = world.ask(bystander, "q");
  const inFlight = world.ask(wal, "w");
  world.ports.settle();
  assertEquals(world.failures.length, 1);
  assertEquals(world.failures[0]!.error.message, "disk gone");
  assertEquals(world.failures[0]!.address, { node: 1, name: "wal", group: 0 });
  assertEquals(stops, ["wal failed", "kv failed"]);
  for (const outcomes of [waiting, inFlight]) {
    const error = errorOf(outcomes);
    assertInstanceOf(error, ActorStoppedError);
    assertEquals(error.outcome, "unknown");
  }
  assertEquals([bystander.cast(1), wal.cast(1)], [false, false]);
  assertThrows(() => world.spawn("late", {}), Error, "the system has stopped");
  assertEquals(world.ports.armedTimers, 0);
});

Deno.test("supervision restart: a fresh instance takes over the mailbox after a pause", () => {
  const world = new World();
  const seen: string[] = [];
  let lives = 0;
  const supervision = { policy: "restart", restartsMax: 2, windowMs: 10_000 } as const;
  const ref = world.system.spawn<unknown, unknown>({
    name: "gateway",
    group: 0,
    supervision,
    batchMax: 1,
    create: () => {
      const life = ++lives;
      return new Scripted({
        receive: ([delivery]) => {
          if (delivery!.message === "crash") throw new Error("bug");
          seen.push(`${life}:${delivery!.message}`);
          delivery!.reply("ok");
        },
        onStop: (reason) => seen.push(`${life} ${reason}`),
      });
    },
  });
  const crashed = world.ask(ref, "crash");
  const kept = world.ask(ref, "kept");
  world.ports.settle();
  const error = errorOf(crashed);
  assertInstanceOf(error, ActorStoppedError);
  assertEquals(error.outcome, "unknown");
  assertInstanceOf(error.cause, Error);
  assertEquals([kept, seen], [[], ["1 restarted"]]);
  assert(ref.cast("meanwhile"));
  world.ports.advance(RESTART_BACK_OFF_MS_MIN);
  assertEquals(kept, [{ ok: true, value: "ok" }]);
  assertEquals(seen, ["1 restarted", "2:kept", "2:meanwhile"]);
  assertEquals(world.system.metrics()[0]!.restarts, 1);
  assertEquals(world.failures, []);
});

Deno.test("supervision restart: the limit of the window stops the system, time restores it", () => {
  const world = new World();
  const supervision = { policy: "restart", restartsMax: 2, windowMs: 1_000 } as const;
  const crash: Script = {
    receive: () => {
      throw new Error("bug");
    },
  };
  const ref = world.spawn("gateway", crash, { supervision });
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 2; i++) {
      ref.cast("crash");
      world.ports.advance(4 * RESTART_BACK_OFF_MS_MIN);
    }
    assertEquals(world.failures, []);
    world.ports.advance(1_000);
  }
  for (let i = 0; i < 3; i++) {
    ref.cast("crash");
    world.ports.advance(4 * RESTART_BACK_OFF_MS_MIN);
  }
  assertEquals(world.failures.length, 1);
  assertEquals(ref.cast("x"), false);
});

Deno.test("supervision restart: an onStart that throws counts as a crash", () => {
  const world = new World();
  let starts = 0;
  const ref = world.spawn("gateway", {
    onStart: () => {
      if (++starts === 2) throw new Error("not yet");
    },
    receive: (batch) => {
      if (batch[0]!.message === "crash") throw new Error("bug");
      batch[0]!.reply("alive");
    },
  }, { supervision: { policy: "restart", restartsMax: 3, windowMs: 10_000 } });
  ref.cast("crash");
  world.ports.advance(10 * RESTART_BACK_OFF_MS_MIN);
  assertEquals(starts, 3);
  const outcomes = world.ask(ref, "q");
  world.ports.settle();
  assertEquals(outcomes, [{ ok: true, value: "alive" }]);
});

Deno.test("supervision stop: the actor is gone and its name free again", () => {
  const world = new World();
  const ref = world.spawn("a", {
    receive: () => {
      // deno-lint-ignore no-throw-literal -- what others' code may do
      throw "not even an error";
    },
  });
  const first = world.ask(ref, 1);
  world.ports.settle();
  assertInstanceOf(errorOf(first), ActorStoppedError);
  assertEquals(world.failures, []);
  const gone = world.ask(ref, 2);
  world.ports.settle();
  const error = errorOf(gone);
  assertInstanceOf(error, ActorStoppedError);
  assertEquals(error.outcome, "not-delivered");
  world.spawn("a", echo);
  const again = world.ask(ref, 3);
  world.ports.settle();
  assertEquals(again, [{ ok: true, value: 3 }], "the old ref finds the new actor");
});

Deno.test("a callback that throws is nobody's actor: the system stops", () => {
  const world = new World();
  const ref = world.spawn("a", echo);
  ref.ask(1, { timeoutMs: 10 }, () => {
    throw new Error("in the callback");
  });
  world.ports.settle();
  assertEquals(world.failures.map(({ error }) => error.message), ["in the callback"]);
  assertEquals(world.failures[0]!.address, undefined);
});

Deno.test("spawn: a name twice, a bad name and an onStart that throws are refused, nothing is left", () => {
  const world = new World();
  world.spawn("a", {});
  assertThrows(() => world.spawn("a", {}), Error, "there is such an actor");
  assertThrows(() => world.spawn("A b", {}), RangeError);
  assertThrows(() => world.spawn("c", {}, { batchMax: 0 }), RangeError);
  assertThrows(() => world.spawn("c", {}, { capacity: 0 }), RangeError);
  const onStart = (): void => {
    throw new Error("cannot start");
  };
  assertThrows(() => world.spawn("b", { onStart }), Error, "cannot start");
  assertEquals(world.system.metrics().map(({ address }) => address), ["node/1/a/0"]);
});

Deno.test("death watch: told once, after the actor stopped, and again only if watched again", () => {
  const world = new World();
  const told: string[] = [];
  let context: ActorContext | undefined;
  const target = { node: 1, name: "target", group: 0 };
  let targetContext: ActorContext | undefined;
  world.spawn("target", { onStart: (given) => targetContext = given });
  world.spawn("watcher", {
    onStart: (given) => {
      context = given;
      given.watch(target);
      given.watch(target);
    },
    onTerminated: (address) => told.push(address.name),
  });
  world.ports.settle();
  assertEquals(told, []);
  targetContext!.stop();
  world.ports.settle();
  assertEquals(told, ["target"]);
  context!.watch(target);
  assertEquals(told, ["target"], "never from within watch");
  world.ports.settle();
  assertEquals(told, ["target", "target"], "one that is not there is reported at once");
});

Deno.test("death watch: a restart is no death", () => {
  const world = new World();
  const told: string[] = [];
  const ref = world.spawn("target", {
    receive: () => {
      throw new Error("bug");
    },
  }, { supervision: { policy: "restart", restartsMax: 1, windowMs: 1_000_000 } });
  world.spawn("watcher", {
    onStart: (context) => context.watch(ref.address),
    onTerminated: (address) => told.push(address.name),
  });
  ref.cast("crash");
  world.ports.advance(1_000);
  assertEquals(told, []);
});

Deno.test("stop: in reverse order of spawning, each mailbox drained first", async () => {
  const world = new World();
  const events: string[] = [];
  const script = (name: string): Script => ({
    receive: (batch) => events.push(`${name} ${batch.length}`),
    onStop: (reason) => events.push(`${name} ${reason}`),
  });
  const wal = world.spawn("wal", script("wal"));
  const raft = world.spawn("raft", {
    receive: () => {
      events.push("raft 1");
      wal.cast("last words");
    },
    onStop: (reason) => events.push(`raft ${reason}`),
  });
  const http = world.spawn("http", script("http"), { batchMax: 1 });
  http.cast(1);
  http.cast(2);
  raft.cast("x");
  wal.cast("y");
  const stopped = world.system.stop({ deadlineMs: 1_000 });
  world.ports.settle();
  assertEquals(await stopped, { drained: true, errors: [] });
  const stops = events.filter((event) => event.endsWith("stopped"));
  assertEquals(stops, ["http stopped", "raft stopped", "wal stopped"]);
  assert(events.indexOf("http 1") < events.indexOf("http stopped"));
  assert(events.indexOf("raft 1") < events.indexOf("raft stopped"));
  assertEquals([http.cast(3), raft.cast(3), wal.cast(3)], [false, false, false]);
  assertEquals(world.ports.armedTimers, 0);
  const again = world.system.stop({ deadlineMs: 1_000 });
  world.ports.settle();
  assertEquals((await again).drained, true);
});

Deno.test("stop: the deadline ends what never drains", () => {
  const world = new World();
  let busy = 0;
  const endless: ActorRef<unknown, unknown> = world.spawn("endless", {
    receive: () => {
      busy++;
      world.ports.stall(1);
    },
  }, { batchMax: 1 });
  for (let i = 0; i < 2_000; i++) endless.cast(i);
  const left = world.ask(endless, "left", 100_000);
  const results: boolean[] = [];
  world.system.stopThen({ deadlineMs: 100 }, ({ drained }) => results.push(drained));
  world.ports.turn();
  assertEquals([busy, results], [TURNS_PER_DRAIN_MAX, []]);
  world.ports.fireDue();
  world.ports.settle();
  assertEquals(results.length, 1);
  assert(world.system.metrics().length === 0);
  const error = errorOf(left);
  assertInstanceOf(error, ActorStoppedError);
  assertEquals([error.outcome, results], ["not-delivered", [false]]);
  assertEquals(world.ports.armedTimers, 0);
});

Deno.test("stop: what an onStop throws is reported and holds nobody up", async () => {
  const world = new World();
  world.spawn("first", {});
  world.spawn("second", {
    onStop: () => {
      throw new Error("cannot close");
    },
  });
  const stopped = world.system.stop({ deadlineMs: 1_000 });
  world.ports.settle();
  const { drained, errors } = await stopped;
  assertEquals([drained, errors.map(({ message }) => message)], [true, ["cannot close"]]);
});

Deno.test("stop: asked for by an actor in its own turn", async () => {
  const world = new World();
  let stopped: Promise<unknown> | undefined;
  const ref = world.spawn("a", {
    receive: () => {
      stopped = world.system.stop({ deadlineMs: 1_000 });
    },
  });
  ref.cast("stop");
  world.ports.settle();
  assertEquals(await stopped, { drained: true, errors: [] });
});

/** Two systems; the link between them keeps what it carries until `flush`. */
class TwoNodes extends World {
  readonly other = this.node(2);
  up = true;
  readonly #wire: { to: ActorSystem; from: number; message: ActorWire }[] = [];

  constructor() {
    super();
    const link = (to: ActorSystem, from: number) => ({
      send: (node: number, message: ActorWire): boolean => {
        if (!this.up || node !== to.node) return false;
        this.#wire.push({ to, from, message: structuredClone(message) });
        return true;
      },
    });
    this.system.connect(link(this.other, 1));
    this.other.connect(link(this.system, 2));
  }

  flush(): void {
    for (let carried = 0; carried < 100; carried++) {
      this.ports.settle();
      const next = this.#wire.shift();
      if (next === undefined) return;
      next.to.deliver(next.from, next.message);
    }
    throw new Error("Cannot flush: there is no end of messages");
  }

  /** What was sent arrives before any actor's turn. */
  deliverAtOnce(): void {
    for (const { to, from, message } of this.#wire.splice(0)) to.deliver(from, message);
  }

  cut(): void {
    this.up = false;
    this.#wire.length = 0;
    this.system.linkLost(2);
    this.other.linkLost(1);
    this.ports.settle();
  }
}

const REMOTE = { node: 2, name: "echo", group: 0 };

Deno.test("remote: cast and call reach an actor of another node as if it were here", () => {
  const world = new TwoNodes();
  const seen: unknown[] = [];
  world.spawn("echo", {
    receive: (batch) =>
      batch.forEach((delivery) => {
        seen.push(delivery.message);
        delivery.reply({ echoed: delivery.message });
      }),
  }, { system: world.other });
  const ref = world.system.ref<unknown, unknown>(REMOTE);
  assertEquals(ref.cast({ key: new Uint8Array([1]) }), true);
  const outcomes = world.ask(ref, [1, "two"]);
  world.flush();
  assertEquals(seen, [{ key: new Uint8Array([1]) }, [1, "two"]]);
  assertEquals(outcomes, [{ ok: true, value: { echoed: [1, "two"] } }]);
  assertEquals(world.other.status().inboundCalls, 0);
});

Deno.test("remote: an error keeps its class's name, its text and its plain fields", () => {
  class NotLeaderError extends Error {
    override readonly name = "NotLeaderError";
    readonly leader = 3;
    readonly internals = new Map();
  }
  const world = new TwoNodes();
  world.spawn("echo", {
    receive: (batch) => batch[0]!.fail(new NotLeaderError("ask node 3")),
  }, { system: world.other });
  const outcomes = world.ask(world.system.ref(REMOTE), 1);
  world.flush();
  const error = errorOf(outcomes);
  assertInstanceOf(error, RemoteError);
  assertEquals([error.name, error.message, error.fields], ["NotLeaderError", "ask node 3", {
    leader: 3,
  }]);
});

Deno.test("remote: the runtime's own errors come back as themselves", () => {
  const world = new TwoNodes();
  const missing = world.ask(world.system.ref(REMOTE), 1);
  world.flush();
  const stopped = errorOf(missing);
  assertInstanceOf(stopped, ActorStoppedError);
  assertEquals([stopped.outcome, stopped.address], ["not-delivered", "node/2/echo/0"]);
  world.spawn("echo", {}, { system: world.other, capacity: 1 });
  const ref = world.system.ref(REMOTE);
  world.ask(ref, "takes the room");
  const refused = world.ask(ref, "one more");
  world.deliverAtOnce();
  world.flush();
  const full = errorOf(refused);
  assertInstanceOf(full, MailboxFullError);
  assertEquals(full.outcome, "not-delivered");
});

Deno.test("remote: without a link a call is not delivered", () => {
  const world = new World();
  const ref = world.system.ref<unknown, unknown>(REMOTE);
  assertEquals(ref.cast(1), false);
  const outcomes = world.ask(ref, 1);
  assertEquals(outcomes, []);
  world.ports.settle();
  const error = errorOf(outcomes);
  assertInstanceOf(error, UnreachableError);
  assertEquals(error.outcome, "not-delivered");
});

Deno.test("remote: a call whose link is lost has an unknown outcome", () => {
  const world = new TwoNodes();
  world.spawn("echo", {}, { system: world.other });
  const outcomes = world.ask(world.system.ref(REMOTE), 1);
  world.flush();
  world.cut();
  const error = errorOf(outcomes);
  assertInstanceOf(error, UnreachableError);
  assertEquals(error.outcome, "unknown");
  assertEquals([world.system.status().pendingCalls, world.ports.armedTimers], [0, 0]);
});

Deno.test("remote: an answer to a call of before the link was lost is not sent over the new one", () => {
  const world = new TwoNodes();
  const held: Any[] = [];
  world.spawn("echo", { receive: (batch) => held.push(...batch) }, { system: world.other });
  world.ask(world.system.ref(REMOTE), "old");
  world.flush();
  world.cut();
  world.up = true;
  const restarted = world.node(1);
  const answered: Outcome<unknown>[] = [];
  restarted.connect({ send: () => true });
  restarted.ref(REMOTE).ask("new", { timeoutMs: 1_000 }, (outcome) => answered.push(outcome));
  const sent: ActorWire[] = [];
  world.other.connect({
    send: (_to, message) => {
      sent.push(message);
      return true;
    },
  });
  held[0]!.reply("stale");
  world.ports.settle();
  assertEquals([sent, answered], [[], []]);
});

Deno.test("remote: an answer from another node than the one that was asked counts for nothing", () => {
  const world = new TwoNodes();
  world.spawn("echo", {}, { system: world.other });
  const outcomes = world.ask(world.system.ref(REMOTE), 1);
  for (let callId = 0; callId < 5; callId++) {
    world.system.deliver(3, { type: "ActorReply", from: 3, callId, payload: "forged" });
  }
  world.ports.settle();
  assertEquals(outcomes, []);
});

Deno.test("death watch, remote: an actor that stops is told over the link, once", () => {
  const world = new TwoNodes();
  const told: string[] = [];
  let target: ActorContext | undefined;
  world.spawn("echo", { onStart: (context) => target = context }, { system: world.other });
  const watcher: Script = {
    onStart: (context) => context.watch(REMOTE),
    onTerminated: (address) => told.push(`${address.node}/${address.name}`),
  };
  world.spawn("first", watcher);
  world.spawn("second", watcher);
  world.flush();
  assertEquals(told, []);
  target!.stop();
  world.flush();
  assertEquals(told, ["2/echo", "2/echo"]);
  world.cut();
  assertEquals(told.length, 2);
});

Deno.test("death watch, remote: a lost link is a death, once; so is no link or no actor", () => {
  const world = new TwoNodes();
  const told: string[] = [];
  let context: ActorContext | undefined;
  world.spawn("echo", {}, { system: world.other });
  world.spawn("watcher", {
    onStart: (given) => (context = given).watch(REMOTE),
    onTerminated: (address) => told.push(address.name),
  });
  world.flush();
  world.cut();
  world.system.linkLost(2);
  world.ports.settle();
  assertEquals(told, ["echo"]);
  context!.watch(REMOTE);
  world.ports.settle();
  assertEquals(told, ["echo", "echo"]);
  world.up = true;
  context!.watch({ node: 2, name: "nobody", group: 0 });
  world.flush();
  assertEquals(told, ["echo", "echo", "nobody"]);
});

Deno.test("X2: what an actor takes from other nodes is what its contract makes of it", () => {
  const world = new TwoNodes();
  const seen: unknown[] = [];
  world.spawn("echo", {
    receive: (batch) =>
      batch.forEach((delivery) => {
        seen.push(delivery.message);
        delivery.reply("done");
      }),
  }, {
    system: world.other,
    remote: (value) => typeof value === "number" ? { number: value } : undefined,
  });
  const ref = world.system.ref(REMOTE);
  ref.cast(7);
  ref.cast({ number: 7 });
  const refused = world.ask(ref, "stop");
  world.flush();
  assertEquals(seen, [{ number: 7 }]);
  const error = errorOf(refused);
  assertInstanceOf(error, MessageRefusedError);
  assertEquals([error.outcome, error.address], ["not-delivered", "node/2/echo/0"]);
  assertEquals(world.other.status().refused, 2);
});

Deno.test("X2: an actor without a contract takes nothing from other nodes, and is not seen by them", () => {
  const world = new TwoNodes();
  const told: string[] = [];
  const create = (): Scripted => new Scripted({ receive: () => assert(false, "it was reached") });
  world.other.spawn({ name: "echo", group: 0, create, supervision: { policy: "stop-system" } });
  const ref = world.system.ref(REMOTE);
  ref.cast("Durable");
  const refused = world.ask(ref, { type: "SyncEnded" });
  world.spawn("watcher", {
    onStart: (context) => context.watch(REMOTE),
    onTerminated: (address) => told.push(address.name),
  });
  world.flush();
  assertInstanceOf(errorOf(refused), MessageRefusedError);
  assertEquals([told, world.other.status().refused, world.failures], [["echo"], 2, []]);
});

Deno.test("X2: a contract that throws refuses the message, and the log has why", () => {
  const world = new TwoNodes();
  const remote = (): never => {
    throw new TypeError("Cannot read it");
  };
  world.spawn("echo", echo, { system: world.other, remote });
  const refused = world.ask(world.system.ref(REMOTE), 1);
  world.flush();
  assertInstanceOf(errorOf(refused), MessageRefusedError);
  assertEquals(world.failures, []);
  assert(world.logged.lines.some((line) => line.includes("remote-contract-failed")));
});

Deno.test("X2: an answer that is none fails the call, with an unknown outcome", () => {
  const world = new TwoNodes();
  world.spawn("echo", echo, { system: world.other });
  const ref = world.system.ref<unknown, unknown>(
    REMOTE,
    (value) => {
      if (value === "throw") throw new Error("planted");
      return typeof value === "number" ? value : undefined;
    },
  );
  const good = world.ask(ref, 1);
  const bad = ["throw", { status: "ok" }].map((value) => world.ask(ref, value));
  world.flush();
  assertEquals(good, [{ ok: true, value: 1 }]);
  for (const outcome of bad) assertEquals(errorOf(outcome).name, "AnswerRefusedError");
});

Deno.test("X12: a signal finds its place behind what waits, however full the mailbox is", () => {
  const world = new World();
  for (const whenFull of ["refuse", "drop-newest", "drop-oldest"] as const) {
    const seen: unknown[] = [];
    const ref = world.spawn(whenFull, {
      receive: (batch) => seen.push(...batch.map(({ message }) => message)),
    }, { capacity: 2, whenFull });
    ref.signal("first");
    ref.cast(1);
    ref.signal("second");
    ref.cast(2);
    ref.signal("third");
    world.ports.settle();
    const signals = seen.filter((message) => typeof message === "string");
    assertEquals(signals, ["first", "second", "third"], whenFull);
  }
});

Deno.test("a signal to an actor that has stopped does nothing", () => {
  const world = new World();
  let context: ActorContext | undefined;
  const ref = world.spawn("a", { onStart: (given) => context = given });
  context!.stop();
  world.ports.settle();
  ref.signal("late");
  world.ports.settle();
  assertEquals(world.failures, []);
});
