import { assert, assertEquals, assertGreater } from "@std/assert";
import { DEFAULT_BOUNDS } from "../../machines/bounds.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { Dice } from "../sim/random.ts";
import { commandOf } from "../storage/kv/command_of.ts";
import { LoneGroup } from "./lone_group.ts";

const HISTORIES = 200;
const LIVES = 5;
const KEYS = 20;
const POWER_LOSS = "power loss";

type Group = LoneGroup<CommandResult, KvStore>;

/** One member from its first start to its last, on a disk whose power fails at any operation. */
class History {
  readonly dice: Dice;
  losses = 0;
  snapshots = 0;
  readonly #disk: MemoryDisk;
  #operationsLeft = Infinity;
  /** Writes that were tried, of which the lives before have kept the first. */
  #tried = 0;
  #acknowledged = 0;

  constructor(seed: number) {
    this.dice = new Dice(seed);
    this.#disk = new MemoryDisk({
      tornPartBytes: this.dice.pick([16, 512, 4_096]),
      later: (run) => run(),
      fault: () => {
        if (this.#operationsLeft-- > 0) return undefined;
        throw new Error(POWER_LOSS);
      },
    });
  }

  play(): void {
    const { dice } = this;
    const options = {
      disk: this.#disk,
      snapshotAfter: { bytes: 2_000 + dice.below(4_000), entries: 20 + dice.below(40) },
      segmentBytes: 1_024 + dice.below(4_096),
      bounds: { ...DEFAULT_BOUNDS, trailingBytes: dice.pick([0, 500]) },
    };
    for (let life = 1; life <= LIVES; life++) {
      const isLast = life === LIVES;
      this.#operationsLeft = isLast ? Infinity : dice.below(dice.pick([20, 100, 400]));
      try {
        const group: Group = new LoneGroup<CommandResult, KvStore>(new KvStore(), options);
        this.#lead(group);
        this.#checkState(group);
        for (let count = isLast ? 5 : dice.below(150); count > 0; count--) this.#write(group);
        this.snapshots += group.host.snapshotActor.counters.taken;
      } catch (error) {
        // A log that failed tells of it as the cause.
        const { cause = error } = error as Error;
        if ((cause as Error).message !== POWER_LOSS) throw error;
        this.losses++;
      }
      this.#disk.crash((count) => dice.below(count));
    }
  }

  #lead(group: Group): void {
    while (group.host.core.role !== "leader") this.#pass(group, 1);
    this.#pass(group, 20);
    assertEquals(group.broken, [], "a snapshot that has its name is whole");
  }

  #pass(group: Group, ms: number): void {
    group.pass(ms);
    for (const failure of group.failures) throw failure;
  }

  /** What was acknowledged is there, and what was tried may be: write n is revision n. */
  #checkState({ host: { machine } }: Group): void {
    const { revision } = machine;
    assert(revision >= this.#acknowledged && revision <= this.#tried, `revision ${revision}`);
    this.#tried = this.#acknowledged = revision;
    const found = Array.from(machine.range({ limit: KEYS + 1 }), ({ key, value }) => {
      const write = new DataView(value.buffer, value.byteOffset).getUint32(0);
      return [key, write];
    });
    const writes = Array.from({ length: Math.min(KEYS, revision) }, (_, at) => revision - at);
    const expected = writes.map((write): [string, number] => [keyOf(write), write]);
    assertEquals(found, expected.sort(([one], [other]) => one < other ? -1 : 1));
  }

  #write(group: Group): void {
    const write = ++this.#tried;
    const value = new Uint8Array(40 + this.dice.below(60));
    new DataView(value.buffer).setUint32(0, write);
    const command = commandOf({ type: "put", key: keyOf(write), value });
    const answers = group.propose(...encodeCommand(command));
    this.#pass(group, 2);
    const [answer] = answers;
    assert(answer?.status === "ok");
    assertEquals(answer.revision, write);
    this.#acknowledged = write;
  }
}

function keyOf(write: number): string {
  return `k${write % KEYS}`;
}

Deno.test("power lost at any operation of a member that takes snapshots loses nothing acknowledged", () => {
  let [losses, snapshots] = [0, 0];
  for (let seed = 1; seed <= HISTORIES; seed++) {
    const history = new History(seed);
    try {
      history.play();
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    losses += history.losses;
    snapshots += history.snapshots;
  }
  assertGreater(losses, 2 * HISTORIES);
  assertGreater(snapshots, HISTORIES / 2);
});
