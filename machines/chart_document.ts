/**
 * The charts inside a Markdown document, kept equal to the machines that run.
 *
 * @module
 */
import { type Chart, chartToMermaid, describeChart } from "./chart.ts";
import { clerkMachine } from "./clerk_machine.ts";
import { peerMachine } from "./peer_machine.ts";
import { raftMachine } from "./raft_machine.ts";

/** Every chart that runs, by its id. */
export const charts: Readonly<Record<"raft" | "peer" | "clerk", Chart>> = {
  raft: raftMachine,
  peer: peerMachine,
  clerk: clerkMachine,
};

/**
 * The document with each `<!-- chart:ID -->` … `<!-- /chart:ID -->` filled anew.
 *
 * @throws {Error} If the document has no place for one of the charts.
 */
export function chartDocument(document: string): string {
  for (const [id, machine] of Object.entries(charts)) {
    const place = new RegExp(`(<!-- chart:${id} -->\n)[\\s\\S]*?(<!-- /chart:${id} -->)`);
    if (!place.test(document)) {
      throw new Error(`Cannot write charts: the document has no place for chart ${id}`);
    }
    const mermaid = chartToMermaid(describeChart(machine));
    document = document.replace(place, `$1\n\`\`\`mermaid\n${mermaid}\`\`\`\n\n$2`);
  }
  return document;
}
