import { assert, assertEquals, assertMatch } from "@std/assert";
import { faults } from "./faults.ts";
import { DEFAULT_SIMULATION, simulate } from "./simulation.ts";

Deno.test("sim refuses a fault that it does not know, and lists those that it knows", async () => {
  const script = new URL("./main.ts", import.meta.url).pathname;
  for (const only of ["crash-leeder", "crash-leader,,wipe"]) {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", script, "--only", only],
    }).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [2, ""]);
    const text = new TextDecoder().decode(stderr);
    assertMatch(text, /^statecraft sim: --only does not know "(crash-leeder|)"; the faults are /);
    for (const { name } of faults) assert(text.includes(name), name);
  }
});

Deno.test("a run told as a play shows messages, disks, clients and faults, a line each", async () => {
  const { transcript, violation } = await simulate({
    ...DEFAULT_SIMULATION,
    seed: 1,
    minutes: 0.3,
    faultsPerHour: 3_600,
    transcript: true,
  });
  assertEquals(violation, undefined);
  const form =
    /^ *\d+\.\d{3} {2}(send|recv|disk|client|fault|debug|info|warn|error|heal) +(node \d|cluster|c\d|nodes=)/;
  assertEquals(transcript.filter((line) => !form.test(line)), []);
  const wanted = [
    /send {2}node \d {2}-> \d {2}PreVote t1 last 0@t0$/,
    /recv {2}node \d {2}<- \d {2}PreVoteReply t1 granted$/,
    /send {2}node \d {2}-> \d {2}Hello$/,
    /recv {2}node \d {2}<- \d {2}HelloReply$/,
    /info {2}node \d {2}link-lost node=\d$/,
    /send {2}node \d {2}-> \d {2}ReadIndex t\d+$/,
    /disk {2}node \d {2}append wal\/\S+ \d+ bytes$/,
    /disk {2}node \d {2}syncData wal\/\S+$/,
    /client c\d {2}put \S+ at k0\.\d$/,
    /client c\d {2}put \S+ at k0\.\d -> ok @\d+$/,
    /client c\d {2}get at k0\.\d -> .* @\d+$/,
    /fault cluster \S+ ends$/,
  ];
  for (const line of wanted) assert(transcript.some((text) => line.test(text)), String(line));
});
