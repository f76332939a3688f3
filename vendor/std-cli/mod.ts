/** @module A stand-in for `jsr:@std/cli`; see parse_args.ts. */
export { type Args, parseArgs, type ParseOptions } from "./parse_args.ts";
