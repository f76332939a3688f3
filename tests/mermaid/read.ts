/**
 * Reads diagrams with Mermaid's own parser: a JSON array of texts in, one of what it found out.
 *
 * A process of its own with packages of its own: in the project's they would be downloaded by
 * everybody who starts a node.
 *
 * @module
 */
import DOMPurify from "dompurify";
import mermaid from "mermaid";

// Mermaid cleans labels of HTML with the help of a browser's document; there is none here.
Object.assign(DOMPurify, {
  addHook: () => {},
  sanitize: (text: string): string => text,
});

const texts: string[] = await new Response(Deno.stdin.readable).json();
const answers: unknown[] = [];
for (const text of texts) {
  try {
    await mermaid.parse(text);
    const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
    const { nodes, edges } =
      (db as unknown as { getData: () => Record<string, unknown> }).getData();
    answers.push({ nodes, edges });
  } catch (error) {
    answers.push({ error: String(error) });
  }
}
await new Blob([JSON.stringify(answers)]).stream().pipeTo(Deno.stdout.writable);
