/**
 * Raw sockets into the HTTP gateway of a real node of one member.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { startNode, type StatecraftNode } from "../../mod.ts";
import type { Dice } from "../sim/random.ts";
import { count, type Fuzzer, type Tally } from "./fuzzer.ts";
import { joined, mutate, randomBytes } from "./mutations.ts";
import { StallWatch } from "./stall_watch.ts";

/** A connection that got no end of its answer by then hangs; far above what any answer takes. */
const HANG_MS = 20_000;
/** How long a request may be without any answer until we end it: the server drops the half-closed. */
const ANSWER_MS = 20;
const STALL_PROBE_MS = 1;
/** Half-sent requests that stay open meanwhile. */
const SLOW_SOCKETS_MAX = 64;
const PIPELINE_MAX = 6;
const SENTINEL_PATH = "/v1/kv/sentinel";
const SENTINEL = "still here";

const paths = [
  ...Array.from({ length: 40 }, (_, at) => `/v1/kv/${"abc"[at % 3]}`),
  ...["/v1/kv/a", "/v1/kv/%00%ff", "/v1/kv/%", "/v1/kv/%zz", "/v1/kv/", "//v1/kv/a", "/v1//kv/a"],
  ...["/v1/kv/..%2f..%2fmetrics", "/v1/kv/../../metrics", "/v1/kv/a/append", "/v1/kv/a/b/c"],
  ...["/v1/kv?prefix=%f", "/v1/kv?limit=-1", "/v1/kv?limit=1e9", "/v1/kv?cursor=!!", "/v1/kv"],
  ...["/v1/kv?start=b&end=a&reverse", "/v1/kv?count_only&prefix=", "/v1/kv/a?redirect=true"],
  ...["/v1/kv/a?consistency=stale", "/v1/kv/a?consistency=x", "/v1/kv/__proto__", "*", "/"],
  ...[
    "/v1/cluster",
    "/v1/cluster/members",
    "/v1/cluster/members/2/replace",
    "/v1/raft/explain",
    "/metrics",
    "/readyz?verbose",
    "/version",
    "/nowhere",
  ],
  `/v1/kv/${"k".repeat(1024)}`,
  `/v1/kv/${"%41".repeat(1025)}`,
  `/v1/kv?${"limit=1&".repeat(2_000)}`,
];
const methods = ["GET", "GET", "PUT", "PUT", "POST", "DELETE", "HEAD", "BREW"];
const headers = [
  ...['If-Match: "1"', "If-Match: *", 'If-Match: "x"', "If-None-Match: *", "Idempotency-Key: 1"],
  ...['Idempotency-Key: "é"', "Content-Type: text/plain", "Content-Type: application/json"],
  ...["Accept: application/x-ndjson", "Expect: 100-continue", "Connection: close", "Host: y"],
  ...["Transfer-Encoding: gzip", "Transfer-Encoding: chunked, chunked", "Upgrade: h2c", "X: "],
  ...["Content-Length: 5", "Content-Length: -1", "Content-Length: 9999999999", "Range: bytes=0-1"],
  `X-Large: ${"x".repeat(60_000)}`,
  `X-Huge: ${"x".repeat(600_000)}`,
];

/**
 * Whatever a socket says, every answer is one that the gateway decided on, nothing is logged as a
 * defect, and the node goes on answering others, also while sockets stay half-way.
 */
export class HttpFuzzer implements Fuzzer, AsyncDisposable {
  readonly name = "http";
  /** Of the event loop that the node shares with this fuzzer: an upper bound. */
  readonly stall = new StallWatch();
  readonly #node: StatecraftNode;
  readonly #dataDir: string;
  readonly #errors: string[];
  readonly #probe = setInterval(() => this.stall.note(), STALL_PROBE_MS);
  #slow: Deno.TcpConn[] = [];

  /** A node in a directory of its own, which leads. */
  static async start(): Promise<HttpFuzzer> {
    const dataDir = await Deno.makeTempDir();
    const errors: string[] = [];
    const node = await startNode({
      id: 1,
      single: true,
      dataDir,
      http: { hostname: "127.0.0.1", port: 0 },
      log: (level, event, fields) => {
        if (level === "error") errors.push(`${event} ${JSON.stringify(fields)}`);
      },
    });
    const response = await fetch(node.httpAddress + SENTINEL_PATH, {
      method: "PUT",
      body: SENTINEL,
    });
    await response.body?.cancel();
    assert(response.ok);
    return new HttpFuzzer(node, dataDir, errors);
  }

  private constructor(node: StatecraftNode, dataDir: string, errors: string[]) {
    this.#node = node;
    this.#dataDir = dataDir;
    this.#errors = errors;
  }

  /** One connection, then a sound request on another. */
  readonly tryOne = async (dice: Dice, tally: Tally): Promise<void> => {
    const bytes = drawConnection(dice);
    // Drawing large bodies is this fuzzer's work, not the node's.
    this.stall.restart();
    if (dice.chance(0.1)) {
      await this.#leaveOpen(bytes.subarray(0, dice.below(bytes.length)));
      count(tally, "left open");
    } else {
      const answer = await this.#exchange(dice, bytes);
      const statuses = [...answer.matchAll(/(?:^|\n)HTTP\/1\.1 (\d{3})/g)].map(([, code]) => code!);
      for (const status of statuses) {
        count(tally, status);
        assert(Number(status) < 500, `answered ${answer.slice(0, 500)}`);
      }
      if (statuses.length === 0) count(tally, "no answer");
    }
    const response = await fetch(this.#node.httpAddress + SENTINEL_PATH, {
      signal: AbortSignal.timeout(HANG_MS),
    });
    assertEquals(await response.text(), SENTINEL);
    assertEquals(this.#errors, []);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#probe);
    for (const connection of this.#slow) connection.close();
    await this.#node[Symbol.asyncDispose]();
    await Deno.remove(this.#dataDir, { recursive: true });
  }

  #connect(): Promise<Deno.TcpConn> {
    const { hostname, port } = new URL(this.#node.httpAddress);
    return Deno.connect({ hostname, port: Number(port) });
  }

  /** Sends in pieces, ends the sending side, and returns all that comes back. */
  async #exchange(dice: Dice, bytes: Uint8Array): Promise<string> {
    using connection = await this.#connect();
    let isHanging = false;
    const timer = setTimeout(() => {
      isHanging = true;
      connection.close();
    }, HANG_MS);
    let grace: ReturnType<typeof setTimeout> | undefined;
    const answered = Promise.withResolvers<void>();
    const sending = send(connection, bytes, 1 + dice.below(dice.chance(0.2) ? 50 : 70_000))
      .then(() => {
        grace = setTimeout(answered.resolve, ANSWER_MS);
        return answered.promise;
      })
      .then(() => endSending(connection));
    let answer = "";
    try {
      const buffer = new Uint8Array(65_536);
      for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
        answer += new TextDecoder("latin1").decode(buffer.subarray(0, n));
        answered.resolve();
      }
    } catch {
      // A server that refuses may reset the connection; what it said before counts.
    }
    answered.resolve();
    await sending;
    clearTimeout(grace);
    clearTimeout(timer);
    assert(!isHanging, "the connection hangs");
    return answer;
  }

  async #leaveOpen(bytes: Uint8Array): Promise<void> {
    const connection = await this.#connect();
    this.#slow.push(connection);
    if (this.#slow.length > SLOW_SOCKETS_MAX) this.#slow.shift()!.close();
    try {
      await connection.write(bytes);
    } catch {
      // Refused already.
    }
  }
}

/** Pieces larger than the rest are sent in few writes; a socket that was closed takes no more. */
async function send(
  connection: Deno.TcpConn,
  bytes: Uint8Array,
  pieceBytes: number,
): Promise<void> {
  // At most so many writes, or the largest bodies would take minutes byte by byte.
  const piece = Math.max(pieceBytes, Math.ceil(bytes.length / 200));
  try {
    for (let at = 0; at < bytes.length;) {
      at += await connection.write(bytes.subarray(at, at + piece));
    }
  } catch {
    // The server may close while we still send.
  }
}

async function endSending(connection: Deno.TcpConn): Promise<void> {
  try {
    await connection.closeWrite();
  } catch {
    // Closed by then.
  }
}

/** All that one connection says: requests one behind the other, sound, odd and mutated ones. */
function drawConnection(dice: Dice): Uint8Array {
  const requests = Array.from(
    { length: dice.chance(0.3) ? 1 + dice.below(PIPELINE_MAX) : 1 },
    () => drawRequest(dice),
  );
  const bytes = joined(...requests);
  return dice.chance(0.3) ? mutate(dice, bytes) : bytes;
}

function drawRequest(dice: Dice): Uint8Array {
  const lines = [`${dice.pick(methods)} ${dice.pick(paths)} HTTP/1.1`, "Host: x"];
  while (dice.chance(0.25)) lines.push(dice.pick(headers));
  const body = dice.chance(0.01)
    ? new Uint8Array(5 * 1024 * 1024)
    : randomBytes(dice, dice.below(200));
  const framing = dice.below(6);
  if (framing === 0) return head(lines);
  if (framing <= 3) {
    lines.push(`Content-Length: ${body.length}`);
    if (dice.chance(0.05)) lines.push(`Content-Length: ${body.length + 1}`);
    return joined(head(lines), body);
  }
  lines.push("Transfer-Encoding: chunked");
  const size = dice.chance(0.1) ? "fffffffffffffffff" : body.length.toString(16);
  const end = framing === 4 ? "\r\n0\r\n\r\n" : "\r\n";
  return joined(head(lines), latin1(`${size}\r\n`), body, latin1(end));
}

function head(lines: readonly string[]): Uint8Array {
  return latin1(`${lines.join("\r\n")}\r\n\r\n`);
}

function latin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at) & 0xff;
  return bytes;
}
