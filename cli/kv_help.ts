/**
 * What the verbs of `deno task kv` do, as data: the help as a whole, the help of one verb, and the shells'
 * completion are made of it.
 *
 * @module
 */

/** One form of a verb. */
interface Form {
  /** The words after the verb, such as `KEY VALUE`. */
  readonly words: string;
  /** What it does. */
  readonly text: string;
}

/** A verb. */
export interface VerbHelp {
  readonly forms: readonly Form[];
  /** Names of the flags that it takes besides those of every verb. */
  readonly flags: readonly string[];
  /** Command lines, without `deno task kv`. */
  readonly examples: readonly string[];
  /** Its first word, if that is one of a few. */
  readonly choices?: readonly string[];
}

/** Flags that take no value. */
export const switches: Readonly<Record<string, string>> = {
  all: "every key",
  prev: "with what was stored before",
  show: "who holds it, and take nothing",
  force: "backup: replace the file if it is there; member: also if too few voters answer",
  "dry-run": "only say what it would do",
  learner: "take it in as a learner that stays one",
  single: "a cluster of this member alone",
  help: "this help, or that of a verb",
};

/** Flags that take a value: what it is, and what it means. */
export const valueFlags: Readonly<Record<string, readonly [string, string]>> = {
  endpoints: ["LIST", "comma list (default http://127.0.0.1:8001,…:8002,…:8003)"],
  timeout: ["DURATION", "give up after this long (default 5s)"],
  consistency: ["LEVEL", "linearizable, lease, follower or stale (default linearizable)"],
  output: ["FORMAT", "table, json, ndjson or raw"],
  "if-revision": ["N", "only if the key is at revision N; 0: only if it is missing"],
  ttl: ["DURATION", "put: how long the key lasts; lock: how long it outlives this program (10s)"],
  lease: ["ID", "the lease that the key is attached to"],
  limit: ["N", "at most this many keys"],
  from: ["N", "from that revision on"],
  wait: ["DURATION", "give up after this long"],
  prefix: ["P", "only keys that begin with P"],
  id: ["N", "the member"],
  data: ["DIR", "its directory (default ./data/node-<id>)"],
  peers: ["LIST", "every member of the new cluster, as for deno task node"],
  "revision-raise": [
    "N",
    "what to add to the revision, so that no ETag of the old cluster stands for anything in the new " +
    "one (default 1000000000)",
  ],
};

/** Flags of every verb. */
const COMMON = ["endpoints", "timeout", "output", "help"];
const READ = ["consistency"];

/** All verbs, in the order of the help. */
export const verbHelps: Readonly<Record<string, VerbHelp>> = {
  put: {
    forms: [{ words: "KEY VALUE", text: 'store a value ("-" reads it from stdin)' }],
    flags: ["if-revision", "ttl", "lease"],
    examples: [
      "put config/color blue",
      "put report - < report.pdf",
      "put session/7 alice --ttl 30s",
      "put config/color red --if-revision 17",
    ],
  },
  get: {
    forms: [{ words: "KEY", text: "print a value" }],
    flags: READ,
    examples: [
      "get config/color",
      "get config/color -o json",
      "get config/color --consistency stale",
    ],
  },
  del: {
    forms: [{ words: "KEY", text: 'delete a key; "del --prefix P" every key that begins with P' }],
    flags: ["if-revision", "prefix", "all"],
    examples: ["del config/color", "del --prefix session/", "del --all"],
  },
  append: {
    forms: [{ words: "KEY VALUE", text: 'add to the end of a value ("-" reads from stdin)' }],
    flags: ["if-revision"],
    examples: ["append journal entry"],
  },
  incr: {
    forms: [{ words: "KEY [BY]", text: "add BY, by default 1, to the number at a key" }],
    flags: [],
    examples: ["incr visits", "incr stock -- -5"],
  },
  cas: {
    forms: [{ words: "KEY OLD NEW", text: "store NEW if OLD is stored now" }],
    flags: [],
    examples: ["cas config/color blue red"],
  },
  txn: {
    forms: [{
      words: "[FILE]",
      text: "execute the transaction that the JSON in a file, by default stdin, says",
    }],
    flags: [],
    examples: [
      "txn transfer.json",
      `txn <<< '{"compare":[{"key":"a","target":"version","op":"==","version":0}],` +
      `"success":[{"put":{"key":"a","value":"1"}}]}'`,
    ],
  },
  lease: {
    forms: [
      { words: "grant DURATION", text: "a lease, with whose end its keys are deleted" },
      { words: "keepalive ID", text: "give it all its time again" },
      { words: "get ID", text: "what it has left, and its keys" },
      { words: "list", text: "all leases" },
      { words: "revoke ID", text: "end it now" },
    ],
    flags: [],
    examples: ["lease grant 1m", "lease get 77", "put member/3 here --lease 77"],
    choices: ["grant", "keepalive", "get", "list", "revoke"],
  },
  lock: {
    forms: [{
      words: "NAME",
      text: "take a lock once it is free and hold it until Ctrl-C; --show: who holds it",
    }],
    flags: ["ttl", "wait", "show"],
    examples: ["lock nightly", "lock nightly --wait 5s --ttl 30s", "lock nightly --show"],
  },
  elect: {
    forms: [{
      words: "NAME VALUE",
      text: 'wait until elected, and stay so until Ctrl-C; "elect NAME" shows who is',
    }],
    flags: ["ttl", "wait"],
    examples: ["elect scheduler http://10.0.0.7:9000", "elect scheduler"],
  },
  list: {
    forms: [{ words: "[PREFIX]", text: "list keys and values in order" }],
    flags: [...READ, "limit"],
    examples: ["list", "list config/ --limit 10", "list -o ndjson > keys.ndjson"],
  },
  watch: {
    forms: [{
      words: "KEY",
      text: "show changes of a key as they happen, until Ctrl-C; " +
        '"watch --prefix P" of every key that begins with P',
    }],
    flags: ["prefix", "from", "prev"],
    examples: [
      "watch config/color",
      "watch --prefix config/ -o ndjson",
      "watch --prefix '' --from 1",
    ],
  },
  status: {
    forms: [{
      words: "",
      text: "who leads and how far every member is, as every endpoint sees it",
    }],
    flags: [],
    examples: ["status", "status -o json"],
  },
  health: {
    forms: [{ words: "", text: "whether every endpoint is ready, and if not, why" }],
    flags: [],
    examples: ["health"],
  },
  explain: {
    forms: [{
      words: "",
      text: "why every endpoint's node is in its role (-o raw: and what may happen next)",
    }],
    flags: [],
    examples: ["explain", "explain -o raw"],
  },
  transfer: {
    forms: [{ words: "NODE", text: "hand leadership to a voter" }],
    flags: [],
    examples: ["transfer 2"],
  },
  member: {
    forms: [
      { words: "list", text: "the members: who votes, how far behind they are, what they run" },
      {
        words: "add ID RAFT [HTTP]",
        text: "take a node in, as a learner that is promoted when it has caught up " +
          "(--learner: that stays one); start it with --join",
      },
      {
        words: "remove ID...",
        text: "take members out; the leader hands over when it is one of them",
      },
      { words: "promote ID...", text: "make learners voters, caught up or not" },
      { words: "demote ID...", text: "make voters learners that stay learners" },
      {
        words: "replace ID",
        text: "the member's disk is lost: let it come back with an empty one",
      },
      {
        words: "replace ID NEWID RAFT [HTTP]",
        text: "let another node take its place when it has caught up",
      },
      {
        words: "update ID raft=HOST:PORT http=URL",
        text: "the member is somewhere else now; every change prints what it does to the quorum " +
          "first, and --dry-run stops there",
      },
    ],
    flags: ["dry-run", "force", "learner"],
    examples: [
      "member list",
      "member add 4 10.0.0.4:7004 http://10.0.0.4:8004",
      "member remove 2 --dry-run",
      "member replace 3",
    ],
    choices: ["list", "add", "remove", "promote", "demote", "replace", "update"],
  },
  snapshot: {
    forms: [{
      words: "",
      text: "let every endpoint's node take a snapshot now, so that its log can be cut",
    }],
    flags: [],
    examples: ["snapshot"],
  },
  backup: {
    forms: [{ words: "FILE", text: "write the whole state, as of now, into a file" }],
    flags: ["force"],
    examples: ["backup monday.backup"],
  },
  export: {
    forms: [{ words: "", text: "print keys, values and content types, a line of JSON each" }],
    flags: [...READ, "prefix"],
    examples: ["export > keys.ndjson", "export --prefix config/"],
  },
  load: {
    forms: [{
      words: "[FILE]",
      text: "put what such lines say, by default those on stdin; can be repeated",
    }],
    flags: [],
    examples: ["load keys.ndjson"],
  },
  restore: {
    forms: [{
      words: "FILE",
      text:
        "found a member of a new cluster from that file, offline; each member restores the same " +
        "file with the same --peers",
    }],
    flags: ["id", "data", "peers", "single", "revision-raise"],
    examples: ["restore monday.backup --id 1 --single --data ./restored"],
  },
  version: {
    forms: [{ words: "", text: "the version of this client, and of every endpoint's node" }],
    flags: [],
    examples: ["version"],
  },
  completion: {
    forms: [{ words: "SHELL", text: "a script that completes verbs and flags: bash, zsh or fish" }],
    flags: [],
    examples: ['eval "$(deno task --quiet kv completion bash)"'],
    choices: ["bash", "zsh", "fish"],
  },
};

const COLUMN = 24;
const WIDTH = 100;

/** The help of all verbs. */
export function wholeHelp(): string {
  const verbs = Object.entries(verbHelps).flatMap(([verb, { forms }]) =>
    forms.map(({ words, text }) => entry(`${verb} ${words}`.trim(), text))
  );
  return [
    "Usage: deno task kv VERB [words] [flags]\n\n",
    ...verbs,
    "\n",
    ...flagEntries([...Object.keys(valueFlags), ...Object.keys(switches)]),
    "\nVERB --help has examples, and the flags that the verb takes.\n",
    ENVIRONMENT,
    "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found (restore: the file is damaged), 4 precondition\n",
    "failed, 5 unavailable, 6 outcome unknown.\n",
  ].join("");
}

const ENVIRONMENT = "--endpoints can be set as STATECRAFT_ENDPOINTS, and so on.\n";

/** The help of one verb. */
export function verbHelp(verb: string): string {
  const { forms, flags, examples } = verbHelps[verb]!;
  return [
    `Usage: deno task kv ${verb} ${forms.length === 1 ? forms[0]!.words : "…"} [flags]\n\n`,
    ...forms.map(({ words, text }) => entry(`${verb} ${words}`.trim(), text)),
    "\n",
    ...flagEntries([...flags, ...COMMON]),
    "\nExamples:\n",
    ...examples.map((line) => `  deno task kv ${line}\n`),
  ].join("");
}

/** The flags that a verb takes, those of every verb too. */
export function flagsOf(verb: string): readonly string[] {
  return [...verbHelps[verb]!.flags, ...COMMON];
}

function flagEntries(names: readonly string[]): string[] {
  return names.map((name) => {
    const [value, text] = valueFlags[name] ?? ["", switches[name]!];
    const short = name === "output" ? "-o, " : "";
    return entry(`${short}--${name} ${value}`.trim(), text);
  });
}

/** A name, and beside it, or below if it is long, what is said of it. */
function entry(name: string, text: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line.length + 1 + word.length > WIDTH - COLUMN) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(line);
  const indent = " ".repeat(COLUMN);
  const head = `  ${name}`;
  const first = head.length < COLUMN ? head.padEnd(COLUMN) + lines.shift() : head;
  return [first, ...lines.map((rest) => indent + rest)].join("\n") + "\n";
}
