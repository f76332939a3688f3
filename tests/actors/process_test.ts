/**
 * A process on ports of a test: how it ends when the world fails.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { SPACE_CHECK_MS } from "../../actors/limits.ts";
import {
  type HttpService,
  Process,
  type ProcessOptions,
  type ProcessWorld,
} from "../../actors/process.ts";
import type { Log } from "../../actors/runtime/ports.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import { foundingConfig, storedMembersOf } from "../../machines/group_config.ts";
import { LogMissingError, putLogAside } from "../../storage/log/data_directory.ts";
import { readMembers, writeMembers } from "../../storage/log/members_file.ts";
import { DiskError, type DiskErrorCode } from "../../storage/log/disk.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { MemoryNetwork } from "../sim/memory_network.ts";
import { memoryLog, VirtualPorts } from "./virtual_ports.ts";

const ADDRESS = { hostname: "n1", port: 7001 };

/** A member of one on a disk that may be full. */
function start(): {
  readonly ports: VirtualPorts;
  readonly world: ProcessWorld;
  /** What every append fails with. */
  readonly disk: { failure: DiskErrorCode | undefined };
  readonly run: (options?: Partial<ProcessOptions>) => Process;
} {
  const ports = new VirtualPorts();
  const state: { failure: DiskErrorCode | undefined } = { failure: undefined };
  const disk = new MemoryDisk({
    later: (run) => run(),
    fault: ({ type, path }) =>
      state.failure !== undefined && type === "append"
        ? new DiskError(`Cannot write: ${state.failure}`, { code: state.failure, path })
        : undefined,
  });
  const network = new MemoryNetwork(ports.scheduler);
  const world = { ports, disk, network };
  const run = (options: Partial<ProcessOptions> = {}): Process =>
    Process.start({
      world,
      directory: {
        nodeId: 1,
        clusterId: "c",
        members: [1],
        clusterIdSource: "configured",
        newDirectoryId: "d",
      },
      members: new Map([[1, ADDRESS]]),
      listen: ADDRESS,
      groups: [0],
      timing: DEFAULT_TIMING,
      version: "test",
      httpAddressOf: () => undefined,
      log: memoryLog().log,
      onFailed: (error) => {
        throw error;
      },
      ...options,
    });
  return { ports, world, disk: state, run };
}

/** Lets virtual time pass until the promise has settled; the error, if it has failed. */
async function settled(
  ports: VirtualPorts,
  promise: Promise<unknown>,
): Promise<string | undefined> {
  let outcome: string | undefined | null = null;
  promise.then(() => outcome = undefined, (error) => outcome = String(error));
  for (let passed = 0; outcome === null; passed++) {
    assert(passed < 1_000, "it does not settle");
    ports.advance(10);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return outcome;
}

Deno.test("a stop on a disk that fails says so, and lets the directory and the address go all the same", async () => {
  const { ports, disk, run } = start();
  const process = run();
  ports.advance(2_000);
  assertEquals(process.status().role, "leader");
  disk.failure = "io";
  assertEquals(
    await settled(ports, process.stop()),
    "WalFailedError: Cannot use the log any more: Cannot write: io",
  );
  disk.failure = undefined;
  const again = run();
  ports.advance(2_000);
  assertEquals([again.status().role, again.status().term], ["leader", 2]);
  assertEquals(await settled(ports, again.stop()), undefined);
});

Deno.test("C6: a full disk refuses writes, serves reads, and stops nothing; then writes go on", async () => {
  const { ports, disk, run } = start();
  const failures: Error[] = [];
  const log = memoryLog();
  const process = run({ log: log.log, onFailed: (error) => void failures.push(error) });
  ports.advance(2_000);
  const ask = (method: string, body?: string): Promise<Response> => {
    const init = { method, headers: { host: "n1" }, ...(body === undefined ? {} : { body }) };
    return Promise.resolve(process.gateway()(new Request("http://n1/v1/kv/k", init)));
  };
  const answerTo = async (response: Promise<Response>): Promise<Response> => {
    let answer: Response | undefined;
    response.then((it) => answer = it);
    assertEquals(await settled(ports, response), undefined);
    return answer!;
  };
  assertEquals((await answerTo(ask("PUT", "before"))).status, 201);
  disk.failure = "no-space";
  // This one finds the disk full: it waits, and nobody is told that it failed.
  let first: Response | undefined;
  ask("PUT", "waits").then((response) => first = response);
  await settled(ports, Promise.resolve());
  ports.advance(500);
  await settled(ports, Promise.resolve());
  assertEquals(first, undefined);
  const refused = await answerTo(ask("PUT", "refused"));
  assertEquals([refused.status, (await refused.json()).code], [507, "no-space"]);
  const read = await answerTo(ask("GET"));
  assertEquals([read.status, await read.text()], [200, "before"]);
  assertEquals(process.explain().causes.map(({ code }) => code), ["disk-full"]);
  disk.failure = undefined;
  ports.advance(500);
  await settled(ports, Promise.resolve());
  assertEquals(first?.status, 200);
  assertEquals((await answerTo(ask("PUT", "after"))).status, 200);
  assertEquals(failures, []);
  const space = log.lines.filter((line) => line.includes("disk-space"));
  assertEquals(space.map((line) => line.includes("free some space")), [true, false]);
  assertEquals(await settled(ports, process.stop()), undefined);
});

Deno.test("a stop on a full disk is in order: what was acknowledged is durable", async () => {
  const { ports, disk, run } = start();
  const process = run();
  ports.advance(2_000);
  disk.failure = "no-space";
  assertEquals(await settled(ports, process.stop()), undefined);
  disk.failure = undefined;
  const again = run();
  ports.advance(2_000);
  assertEquals(again.status().role, "leader");
  assertEquals(await settled(ports, again.stop()), undefined);
});

Deno.test("a start that fails after HTTP was served shuts HTTP down, and leaves nothing behind", async () => {
  const { ports, run, world } = start();
  let shutdowns = 0;
  const serveHttp = (): HttpService => ({
    address: { hostname: "n1", port: 8001 },
    sheds: 0,
    // What a shutdown that fails does must not hide why the start failed.
    shutdown: () => Promise.reject(new Error(`shutdown ${++shutdowns}`)),
  });
  const log: Log = (_level, event) => {
    if (event === "serving") throw new Error("the log is gone");
  };
  assertThrows(() => run({ world: { ...world, serveHttp }, log }), Error, "the log is gone");
  assertEquals(shutdowns, 1);
  await settled(ports, run().stop());
});

Deno.test("a process hosts any number of groups on one log, and serves each", async () => {
  const { ports, run } = start();
  const log = memoryLog();
  const process = run({ groups: [3, 7], log: log.log });
  ports.advance(2_000);
  const answers = [3, 7].map((group) => {
    const headers = { host: "n1" };
    const body = `of group ${group}`;
    const request = new Request("http://n1/v1/kv/k", { method: "PUT", headers, body });
    return process.gateway(group)(request);
  });
  await settled(ports, Promise.all(answers));
  for (const group of [3, 7]) {
    assertEquals(process.status(group).group, group);
    const entry = process.groups.get(group)!.host.machine.get("k");
    assertEquals(new TextDecoder().decode(entry!.value), `of group ${group}`);
  }
  assertEquals(process.status().group, 3, "the first is the default");
  assert(log.lines.some((line) => /^info role group=7 /.test(line)), log.lines.join("\n"));
  await settled(ports, process.stop());
});

Deno.test("a directory that is removed while it is in use stops the process: nothing more is acknowledged", () => {
  const { ports, world, run } = start();
  const failures: Error[] = [];
  const log = memoryLog();
  run({ log: log.log, onFailed: (error) => void failures.push(error) });
  ports.advance(2_000);
  assertEquals(failures, []);
  (world.disk as MemoryDisk).erase("identity.json");
  ports.advance(SPACE_CHECK_MS);
  assertEquals(failures.map(({ name }) => name), ["DirectoryGoneError"]);
  assertMatch(
    log.lines.join("\n"),
    /node-failed error=.*removed, or moved away.*next=bring it back/,
  );
});

Deno.test("a member that crashed while it fetched its lost log still asks those whom it knew last", async () => {
  const { ports, world: { disk }, run } = start();
  const process = run();
  ports.advance(5_000);
  assertEquals(await settled(ports, process.stop()), undefined);
  assertEquals(readMembers(disk)?.config.voters, [1]);
  // The log was lost, and what was fetched of it so far is of the time when this member was alone.
  const members = [4, 5].map((id) => ({ id, raft: `n${id}:7001`, http: "" }));
  const config = { ...foundingConfig({ voters: [1, 4, 5], members }), clusterVersion: 2 };
  putLogAside(disk);
  for (const name of disk.list("wal")) {
    disk.rename(`wal/${name}`, `wal/${name.replace(".broken", "")}`);
  }
  writeMembers(disk, storedMembersOf({ index: 500, config }));
  const again = run();
  ports.advance(5_000);
  assertEquals([again.status().role, again.status().term], ["recovering", 1]);
  const cause = again.explain().causes.find(({ code }) => code === "log-lost");
  assertEquals(cause?.nodes, [4, 5]);
  assertMatch(cause!.sentence, /it waits for an answer of 4, 5$/);
  assertEquals(readMembers(disk)?.index, 500);
  assertEquals(await settled(ports, again.stop()), undefined);
});

Deno.test("the only voter does not start without its log, also if there are learners: nobody could lead", async () => {
  const { ports, world: { disk }, run } = start();
  const process = run();
  ports.advance(5_000);
  assertEquals(await settled(ports, process.stop()), undefined);
  const keep = ({ voters, learners }: { voters: number[]; learners: number[] }): void => {
    const config = { ...foundingConfig({ voters, learners }), clusterVersion: 2 };
    writeMembers(disk, storedMembersOf({ index: 500, config }));
  };
  const segments = disk.list("wal");
  for (const name of segments) disk.remove(`wal/${name}`);
  keep({ voters: [1], learners: [2] });
  assertThrows(() => run(), LogMissingError);
  keep({ voters: [2], learners: [1] });
  const learner = run();
  assertEquals(learner.status().role, "recovering");
  assertEquals(await settled(ports, learner.stop()), undefined);
});
