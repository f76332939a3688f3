import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { crc32c } from "../../storage/crc32c.ts";
import { DenoDisk } from "../../storage/log/deno_disk.ts";
import { Wal } from "../../storage/log/wal.ts";
import { segmentPath } from "../../storage/log/wal_segment.ts";
import { encode, entry, hardState, walOptions } from "../storage/wal_script.ts";
import { imageOf, placesOf, statesOf } from "../storage/snapshot_image.ts";

interface Run {
  readonly code: number;
  readonly lines: string[];
  readonly stderr: string;
}

/** Runs an inspection, which may read and nothing else. */
async function run(command: "wal" | "snapshot", ...args: readonly string[]): Promise<Run> {
  const script = new URL(`../../cli/inspect_${command}.ts`, import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-read", "--allow-env", script, ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  const lines = decoder.decode(stdout).split("\n").filter((line) => line !== "");
  return { code, lines, stderr: decoder.decode(stderr) };
}

async function inDirectory(play: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await play(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("wal inspect: records of a log that a process has open, as a table and as lines of JSON", () =>
  inDirectory(async (directory) => {
    const { wal } = Wal.open(new DenoDisk(directory), { ...walOptions, segmentBytes: 1_000_000 });
    wal.append([encode(hardState(0, 3, 2)), encode(entry(0, 3, 1))]);
    const table = await run("wal", "inspect", directory);
    assertEquals([table.code, table.stderr], [0, ""]);
    const [head, segment, mark, vote, command, total, group, verdict, ...rest] = table.lines;
    assertEquals(rest, []);
    const cells = (line: string | undefined): string[] => line!.trim().split(/  +/);
    assertEquals(cells(head), "offset position group kind term index bytes detail".split(" "));
    assertStringIncludes(segment!, `${segmentPath(1)}: node 1 of cluster c-1, from position 0 on`);
    assertEquals(cells(mark), ["128", "128", "-", "mark", "-", "-", "40", "durable to 128"]);
    assertEquals(cells(vote), ["168", "168", "0", "hardState", "3", "-", "40", "vote 2"]);
    assertEquals(cells(command), ["208", "208", "0", "command", "3", "1", "45", "time 1001 ms"]);
    assertEquals([total, group, verdict], [
      "1 segment, 3 records, 253 bytes",
      "group 0: term 3, vote 2, entries 1 to 1",
      "sound",
    ]);
    // The log's own directory will do.
    const json = await run("wal", "inspect", `${directory}/wal`, "-o", "ndjson", "--limit", "2");
    assertEquals(json.code, 0);
    const rows = json.lines.map((line) => JSON.parse(line));
    assertEquals(rows.map(({ type }) => type), ["segment", "record", "record", "summary"]);
    const { sound, records, groups } = rows.at(-1);
    assertEquals([sound, records, groups[0].votedFor, groups[0].lastIndex], [true, 3, 2, 1]);
    wal.close();
  }));

Deno.test("wal inspect: a torn end is no damage, a damaged record is, and the first one is named with its place", () =>
  inDirectory(async (directory) => {
    const { wal } = Wal.open(new DenoDisk(directory), { ...walOptions, segmentBytes: 1_000_000 });
    for (const index of [1, 2, 3]) wal.append([encode(entry(0, 1, index))]);
    wal.close();
    const path = `${directory}/${segmentPath(1)}`;
    const whole = await Deno.readFile(path);
    await Deno.writeFile(path, new Uint8Array([...whole, 1, 2, 3]));
    const torn = await run("wal", "inspect", directory, "--limit", "0");
    assertEquals(torn.code, 0);
    assertStringIncludes(torn.lines.at(-1)!, `ends at byte ${whole.length} (the bytes end`);
    whole[210]! ^= 1;
    await Deno.writeFile(path, whole);
    const damaged = await run("wal", "inspect", directory);
    assertEquals(damaged.code, 3);
    const { lines } = damaged;
    assertStringIncludes(lines.at(-1)!, "damaged: Cannot open log segment");
    assertStringIncludes(lines.at(-1)!, `${segmentPath(1)}": corrupt in the record at byte 168`);
    assert(lines.some((line) => line.includes("nothing can be read from byte 168 on")));
    const json = await run("wal", "inspect", directory, "-o", "ndjson");
    const { sound, damage } = JSON.parse(json.lines.at(-1)!);
    assertEquals([json.code, sound, damage.path, damage.offset], [3, false, segmentPath(1), 168]);
    assertEquals(await Deno.readFile(path), whole, "nothing was changed");
  }));

Deno.test("wal inspect: a record of a newer release is no damage", () =>
  inDirectory(async (directory) => {
    const { wal } = Wal.open(new DenoDisk(directory), { ...walOptions, segmentBytes: 1_000_000 });
    wal.close();
    const path = `${directory}/${segmentPath(1)}`;
    const whole = await Deno.readFile(path);
    const record = encode(entry(0, 1, 1));
    record[9] = 99;
    new DataView(record.buffer).setUint32(0, crc32c(record, 4), true);
    await Deno.writeFile(path, new Uint8Array([...whole, ...record]));
    const { code, lines, stderr } = await run("wal", "inspect", directory);
    assertEquals(code, 2);
    assertStringIncludes(lines.at(-1)!, `nothing can be read from byte ${whole.length} on`);
    assertStringIncludes(stderr, "use a newer release");
  }));

Deno.test("snapshot inspect: meta, chunks and digest of a snapshot, and where it is damaged", () =>
  inDirectory(async (directory) => {
    const { bytes, digest } = imageOf(statesOf({ count: 3, bytes: 500 }));
    const { chunks } = placesOf(bytes);
    const file = `${directory}/My Backup`;
    await Deno.writeFile(file, bytes);
    const table = await run("snapshot", "inspect", file);
    assertEquals([table.code, table.stderr, table.lines.at(-1)], [0, "", "sound"]);
    const text = table.lines.map((line) => line.replace(/ +/g, " ").trim());
    for (
      const line of ["clusterId c-1", "index 7", "term 2", "members 1, 2, 3", `digest ${digest}`]
    ) {
      assert(text.includes(line), line);
    }
    assert(text.includes(`1 ${chunks[0]} 500 500 1.00x`));
    const json = await run("snapshot", "inspect", file, "-o", "ndjson", "--limit", "1");
    const rows = json.lines.map((line) => JSON.parse(line));
    assertEquals(rows.map(({ type }) => type), ["snapshot", "chunk", "summary"]);
    const { sound, checked, stateBytes } = rows[2];
    assertEquals([rows[0].digest, rows[2].chunks], [digest, 3]);
    assertEquals([sound, checked, stateBytes], [true, true, 1_500]);

    bytes[bytes.length - 1]! ^= 1;
    await Deno.writeFile(file, bytes);
    const other = await run("snapshot", "inspect", file);
    assertEquals(other.code, 3);
    assertStringIncludes(other.lines.at(-1)!, "not those that its digest was made of");

    bytes[chunks[1]! + 50]! ^= 1;
    await Deno.writeFile(file, bytes);
    const damaged = await run("snapshot", "inspect", file, "-o", "ndjson");
    const { damage } = JSON.parse(damaged.lines.at(-1)!);
    assertEquals([damaged.code, damage.offset], [3, chunks[1]]);
    const quick = await run("snapshot", "inspect", file, "--quick");
    assertEquals(quick.code, 0);
    assertStringIncludes(quick.lines.at(-1)!, "not checked");
    bytes[20]! ^= 1;
    await Deno.writeFile(file, bytes);
    const headless = await run("snapshot", "inspect", file);
    assertEquals(headless.code, 3);
    assertStringIncludes(headless.lines[0]!, "its head is damaged");
  }));

Deno.test("inspections: what is no log, no file or no command is a usage error, on one line", () =>
  inDirectory(async (directory) => {
    const runs = [
      run("wal", "inspect", directory),
      run("wal", "inspect", `${directory}/none`),
      run("wal", "inspect"),
      run("wal", "dump", directory),
      run("wal", "inspect", directory, "-o", "xml"),
      run("wal", "inspect", directory, "--limit", "-1"),
      run("wal", "inspect", directory, "--quick"),
      run("snapshot", "inspect", directory),
      run("snapshot", "inspect", `${directory}/none`),
    ];
    for (const { code, lines, stderr } of await Promise.all(runs)) {
      assertEquals([code, lines], [2, []], stderr);
      assert(/^statecraft (wal|snapshot): [^\n]+\n$/.test(stderr), stderr);
    }
    for (const command of ["wal", "snapshot"] as const) {
      const help = await run(command, "--help");
      assertEquals(help.code, 0);
      assertStringIncludes(help.lines[0]!, `Usage: deno task ${command} inspect`);
    }
  }));
