/**
 * The words of one command, taken from left to right.
 *
 * @module
 */
import type { NodeId, RaftMessage } from "../../../machines/raft_types.ts";

/** Every type of message. */
const types: Readonly<Record<RaftMessage["type"], true>> = {
  AppendEntries: true,
  AppendEntriesReply: true,
  RequestVote: true,
  RequestVoteReply: true,
  PreVote: true,
  PreVoteReply: true,
  TimeoutNow: true,
  ReadIndex: true,
  ReadIndexReply: true,
  InstallSnapshot: true,
  InstallSnapshotReply: true,
};

/** Which nodes a word names. */
export type NodeSet = readonly NodeId[] | "all";

/** Reads the words; every method takes what it reads, and throws if something else stands there. */
export class Words {
  #left: string[];

  constructor(words: readonly string[]) {
    this.#left = [...words];
  }

  /** Whether all words are taken. */
  get isAtEnd(): boolean {
    return this.#left.length === 0;
  }

  /** One word; `what` says in the error what is missing. */
  next(what: string): string {
    const word = this.#left.shift();
    if (word === undefined) throw new SyntaxError(`${what} is missing`);
    return word;
  }

  /** All words that are left. */
  rest(): string[] {
    return this.#left.splice(0);
  }

  /** A word that must stand there. */
  literal(word: string): void {
    const found = this.next(`"${word}"`);
    if (found !== word) throw new SyntaxError(`"${word}" was expected, not "${found}"`);
  }

  /** One of these words. */
  oneOf<Word extends string>(words: readonly Word[]): Word {
    const found = this.next(words.join(" or "));
    const word = words.find((each) => each === found);
    if (word === undefined) {
      throw new SyntaxError(`${words.join(" or ")} was expected, not "${found}"`);
    }
    return word;
  }

  /** A whole number from 0 on. */
  number(): number {
    return numberOf(this.next("a number"));
  }

  /** A node. */
  id(): NodeId {
    return numberOf(this.next("a node"));
  }

  /** Nodes: `1`, `1,3`, `2-5`, or `*` for all. */
  ids(): NodeSet {
    const word = this.next("a node");
    return word === "*" ? "all" : word.split(",").flatMap(rangeOf);
  }

  /** Types of messages, up to the end; none means all. */
  types(): RaftMessage["type"][] {
    return this.rest().map((word) => {
      if (!Object.hasOwn(types, word)) {
        throw new SyntaxError(
          `there is no message "${word}"; there are ${Object.keys(types).join(", ")}`,
        );
      }
      return word as RaftMessage["type"];
    });
  }

  /** Pairs of a name and lists of numbers, up to the end. */
  options(...names: readonly string[]): Record<string, number[]> {
    const options: Record<string, number[]> = {};
    while (!this.isAtEnd) {
      const name = this.oneOf(names);
      options[name] = this.next(`the value of ${name}`).split(",").map(numberOf);
    }
    return options;
  }
}

function rangeOf(word: string): NodeId[] {
  const found = /^(\d{1,3})(?:-(\d{1,3}))?$/.exec(word);
  const first = Number(found?.[1]);
  const last = Number(found?.[2] ?? first);
  if (!(first <= last)) throw new SyntaxError(`"${word}" names no nodes`);
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}

function numberOf(word: string): number {
  if (!/^\d{1,9}$/.test(word)) throw new SyntaxError(`"${word}" is not a number`);
  return Number(word);
}
