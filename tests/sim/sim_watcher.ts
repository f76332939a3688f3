/**
 * A client that watches every key of a group, now at one node and then at another, and reads when it
 * comes to it.
 *
 * @module
 */
import type { WatchSource } from "../../transport/http/gateway_port.ts";
import type { Process } from "../../actors/process.ts";
import type { KvChange } from "../../storage/kv/key_space.ts";
import type { GroupId } from "../../machines/raft_types.ts";
import type { SimCluster } from "./cluster.ts";

/** How often it looks whether its node is still there, and the longest that it lets changes wait. */
const LOOK_MS = 150;
/** It moves to another node without a reason once in so many looks. */
const LOOKS_PER_MOVE = 40;

/** See the module. */
export class SimWatcher {
  readonly #name: string;
  readonly #cluster: SimCluster;
  readonly #group: GroupId;
  #watch: WatchSource | undefined;
  #process: Process | undefined;
  /** Where it goes on; undefined before it has begun. */
  #from: number | undefined;

  constructor(name: string, cluster: SimCluster, group: GroupId) {
    this.#name = name;
    this.#cluster = cluster;
    this.#group = group;
  }

  /** Begins, and goes on until the run ends. */
  start(): void {
    this.#look();
    this.#cluster.loop.after(this.#cluster.dice.between(1, LOOK_MS), () => this.start());
  }

  #look(): void {
    const { dice } = this.#cluster;
    const isThere = this.#process !== undefined &&
      this.#cluster.ids.some((id) => this.#cluster.node(id).process === this.#process);
    if (!isThere || dice.chance(1 / LOOKS_PER_MOVE)) this.#move();
    // Some looks are passed over, so that changes wait.
    if (dice.chance(0.7)) this.#read();
  }

  #move(): void {
    const { dice, ids } = this.#cluster;
    this.#watch?.end();
    this.#watch = undefined;
    const running = ids.filter((id) => this.#cluster.node(id).running);
    if (running.length === 0) return;
    const { process } = this.#cluster.node(dice.pick(running));
    this.#process = process;
    this.#watch = process?.groups.get(this.#group)?.client.watch({}, this.#from);
    if (this.#from !== undefined || this.#watch === undefined) return;
    this.#begin(this.#watch.from);
  }

  #begin(from: number): void {
    this.#from = from;
    this.#cluster.tell({ type: "watchBegins", watcher: this.#name, from });
  }

  #read(): void {
    for (;;) {
      const news = this.#watch?.take(() => {});
      if (news === undefined) return;
      if (news.type === "changes") {
        this.#tell(news.changes);
        continue;
      }
      this.#process = undefined;
      this.#watch = undefined;
      // What is not kept any more is read from a listing, which is no concern of a watch.
      if (news.type !== "ended" && news.firstRevision > this.#from!) {
        this.#begin(news.firstRevision);
      }
      return;
    }
  }

  #tell(changes: readonly KvChange[]): void {
    for (const [revision, keys] of keysByRevision(changes)) {
      const watched = { watcher: this.#name, group: this.#group, revision, keys } as const;
      this.#from = revision + 1;
      this.#cluster.tell({ type: "watched", ...watched });
    }
  }
}

/** What each revision changed, as text. */
export function keysByRevision(changes: readonly KvChange[]): Map<number, string> {
  const found = new Map<number, string>();
  for (const { revision, key, entry } of changes) {
    const text = `${entry === undefined ? "-" : "+"}${key}`;
    found.set(revision, `${found.get(revision) ?? ""} ${text}`);
  }
  return found;
}
