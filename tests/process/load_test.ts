import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import fc from "fast-check";
import { LatencyHistogram } from "../../bench/load_histogram.ts";
import { statecraftGet, statecraftPut } from "../../bench/load_requests.ts";
import { type LoadOptions, runLoad, sendEachKey } from "../../bench/load_run.ts";
import { loadOptionsOf, loopbackAddress } from "../../bench/load.ts";
import { wireCallers } from "../../bench/load_wire.ts";
import { readSettings } from "../../cli/settings.ts";
import { UsageError } from "../../cli/usage.ts";
import { parseHostPort, startNode } from "../../mod.ts";

Deno.test("a percentile is the true one or at most 1/32 above it", () => {
  const latency = fc.oneof(fc.nat(40), fc.nat(100_000), fc.nat(2 ** 31 - 1));
  fc.assert(fc.property(
    fc.array(latency, { minLength: 1, maxLength: 200 }),
    fc.constantFrom(0.5, 0.9, 0.99, 0.999, 1),
    (latencies, fraction) => {
      const histogram = new LatencyHistogram();
      for (const us of latencies) histogram.record(us);
      const sorted = latencies.toSorted((a, b) => a - b);
      const exact = sorted[Math.ceil(fraction * sorted.length) - 1]!;
      const found = histogram.percentileUs(fraction);
      assert(found >= exact && found <= exact * (1 + 1 / 32), `${found} for ${exact}`);
      assertEquals(histogram.maxUs, sorted.at(-1)!);
      assertEquals(histogram.count, latencies.length);
    },
  ));
});

Deno.test("load goes to this machine only", () => {
  assertEquals(loopbackAddress("http://127.0.0.1:8001"), { hostname: "127.0.0.1", port: 8001 });
  assertEquals(loopbackAddress("http://[::1]:8001"), { hostname: "::1", port: 8001 });
  assertEquals(loopbackAddress("http://localhost"), { hostname: "localhost", port: 80 });
  const others = [
    "http://example.com:8001",
    "http://10.0.0.1:8001",
    "http://127.0.0.1.example.com",
    "http://0.0.0.0:8001",
    "http://user@10.0.0.1",
    "https://127.0.0.1:8001",
    "127.0.0.1:8001",
    "http://127.0.0.1:8001/v1",
  ];
  for (const other of others) assertThrows(() => loopbackAddress(other), UsageError);
  assertEquals(loopbackAddress("tcp://[::1]:7001"), { hostname: "::1", port: 7001 });
  assertThrows(() => loopbackAddress("tcp://10.0.0.1:7001"), UsageError);
});

Deno.test("a command line of the generator that cannot be run is refused", () => {
  const flags = {
    string: ["mix", "duration", "warmup", "keys", "key-size", "rate", "connections", "endpoints"],
    boolean: [],
  };
  const options = (...args: string[]): unknown =>
    loadOptionsOf(readSettings(args, flags, () => undefined));
  options("--mix", "1:9", "--duration", "9m", "--warmup", "1m");
  const refused = [
    ["--mix", "0:0"],
    ["--mix", "1"],
    ["--duration", "10m", "--warmup", "1ms"],
    ["--duration", "0s"],
    ["--keys", "0"],
    ["--keys", "1000", "--key-size", "2"],
    ["--rate", "0"],
    ["--connections", "0"],
    ["--endpoints", "http://127.0.0.1:1,tcp://127.0.0.1:2"],
    ["extra"],
  ];
  for (const args of refused) assertThrows(() => options(...args), UsageError, undefined, args[1]);
});

Deno.test("a run counts what the server answered, in both loops, and errors apart", async () => {
  const dataDir = await Deno.makeTempDir();
  try {
    const http = { hostname: "127.0.0.1", port: 0 };
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    const { hostname, port } = new URL(node.httpAddress);
    const endpoints = [{ hostname, port: Number(port) }];
    const sizes = { keys: 50, keyBytes: 8, valueBytes: 20_000 };
    const put = statecraftPut(sizes);
    await sendEachKey(endpoints, put);
    const count = await (await fetch(`${node.httpAddress}/v1/kv?count_only`)).json();
    assertEquals(count.count, 50);

    const revision = async (): Promise<number> => (await node.status()).revision;
    const base: Omit<LoadOptions, "mix"> = {
      endpoints,
      connections: 4,
      durationMs: 1_500,
      warmupMs: 0,
    };
    const before = await revision();
    const puts = await runLoad({ ...base, mix: [{ template: put, weight: 1 }] });
    assertEquals([...puts.errors], []);
    assertGreater(puts.operations, 0);
    // Answers that came after the end were sent, but do not count.
    const written = (await revision()) - before;
    assert(written >= puts.operations && written <= puts.operations + base.connections);

    const get = statecraftGet(sizes, "stale");
    const ratePerSecond = 100;
    const gets = await runLoad({ ...base, ratePerSecond, mix: [{ template: get, weight: 1 }] });
    assertEquals([...gets.errors], []);
    assert(gets.operations > 0 && gets.operations <= ratePerSecond * base.durationMs / 1_000);

    const missing = statecraftGet({ ...sizes, keyBytes: 9 }, undefined);
    const errors = await runLoad({ ...base, mix: [{ template: missing, weight: 1 }] });
    assertEquals([errors.operations, [...errors.errors.keys()]], [0, ["http 404"]]);

    const raft = parseHostPort(node.status().members[0]!.raftAddress)!;
    const { open, close } = wireCallers([raft]);
    const fromRevision = await revision();
    const both = [{ template: put, weight: 1 }, { template: get, weight: 1 }];
    const wire = await runLoad({ ...base, open, mix: both });
    await close();
    assertEquals([...wire.errors], []);
    const written2 = (await revision()) - fromRevision;
    assert(written2 > 0 && written2 < wire.operations, "there are puts and gets on the wire");
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});
