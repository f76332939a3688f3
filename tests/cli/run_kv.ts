/**
 * The client as a process.
 *
 * @module
 */

/** How a run of the client ended. */
export interface Run {
  readonly code: number;
  readonly bytes: Uint8Array;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the client. */
export type Kv = (args: readonly string[], stdin?: Uint8Array<ArrayBuffer>) => Promise<Run>;

const script = new URL("../../cli/kv.ts", import.meta.url).pathname;

const PERMISSIONS = ["--allow-net", "--allow-env", "--allow-read", "--allow-write"];

/** An endpoint that nobody listens on. */
export function refusedEndpoint(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `http://127.0.0.1:${listener.addr.port}`;
}

/** A client of these endpoints. */
export function kvAt(endpoints: string, env: Record<string, string> = {}): Kv {
  return async (args, stdin) => {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", ...PERMISSIONS, script, ...args],
      env: { STATECRAFT_ENDPOINTS: endpoints, ...env },
      stdin: stdin === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    if (stdin !== undefined) {
      const writer = child.stdin.getWriter();
      await writer.write(stdin);
      await writer.close();
    }
    const { code, stdout, stderr } = await child.output();
    const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
    return { code, bytes: stdout, stdout: text(stdout), stderr: text(stderr) };
  };
}
