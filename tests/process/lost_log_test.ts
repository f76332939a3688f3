/**
 * A member whose log is lost, cut or decayed comes back by itself, in real processes under load: it
 * fetches its log from the others, and votes only then.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { eventually, persist, RealCluster } from "./real_cluster.ts";

const VICTIM = 2;

/** What happens to the segments of a log. */
const damages: readonly { readonly name: string; readonly harm: (wal: string) => void }[] = [
  {
    name: "wiped, its identity kept",
    harm: (wal) => {
      for (const segment of segmentsOf(wal)) Deno.removeSync(segment);
    },
  },
  {
    name: "a bit flipped in its middle",
    harm: (wal) => {
      const [segment] = segmentsOf(wal);
      const bytes = Deno.readFileSync(segment!);
      bytes[bytes.length >>> 1]! ^= 1;
      Deno.writeFileSync(segment!, bytes);
    },
  },
  {
    name: "cut short where nothing in it tells",
    harm: (wal) => {
      const segment = segmentsOf(wal).at(-1)!;
      Deno.truncateSync(segment, Deno.statSync(segment).size >>> 1);
    },
  },
];

function segmentsOf(wal: string): string[] {
  return Array.from(Deno.readDirSync(wal), ({ name }) => `${wal}/${name}`)
    .filter((path) => path.endsWith(".wal")).sort();
}

Deno.test("a log that is lost or damaged is fetched from the others, under load", async (t) => {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  let [written, goesOn] = [0, true];
  const others = (): string[] =>
    cluster.nodes.filter(({ id }) => id !== VICTIM).map(({ http }) => http);
  const load = (async () => {
    while (goesOn) {
      await persist(others(), `/v1/kv/k${written % 50}`, { method: "PUT", body: `${written}` });
      written++;
    }
  })();
  for (const { name, harm } of damages) {
    await t.step(name, async () => {
      const before = written;
      await eventually("some writes", () => written > before + 30 || undefined);
      await cluster.kill(VICTIM);
      harm(`${cluster.directory}/node-${VICTIM}/wal`);
      const victim = cluster.start(VICTIM);
      await eventually("its log restored", () => /log-restored/.test(victim.stderr) || undefined);
      assertMatch(victim.stderr, /error .*log-lost .*reason=/);
      await eventually("a follower that is level", async () => {
        const status = await victim.status();
        const leader = await (await cluster.leader()).status();
        const isLevel = status?.role === "follower" &&
          leader!.commitIndex - status.appliedIndex < 100;
        return isLevel || undefined;
      });
      assertEquals(victim.stderr.includes("node-failed"), false);
    });
  }
  goesOn = false;
  await load;
  await cluster.agree();
  assert(written > 100);

  // Restarted once more it is a member like any other: its vote makes the majority.
  await cluster.kill(VICTIM);
  const again = cluster.start(VICTIM);
  const [absent] = cluster.nodes.filter(({ id }) => id !== VICTIM);
  await eventually("it follows", async () => (await again.status())?.leader || undefined);
  assertEquals(/log-lost/.test(again.stderr), false);
  await cluster.kill(absent!.id);
  const rest = cluster.nodes.filter(({ id }) => id !== absent!.id).map(({ http }) => http);
  await persist(rest, "/v1/kv/after", { method: "PUT", body: "all" });
});
