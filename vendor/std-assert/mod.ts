/**
 * A stand-in for `jsr:@std/assert` over `node:assert/strict`, for machines that cannot reach JSR.
 * It exports only what this project uses, with the same signatures; name
 * `jsr:@std/assert` in deno.json's `imports` to use the original.
 *
 * @module
 */
import nodeAssert from "node:assert/strict";

/** Thrown when an assertion does not hold. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

// deno-lint-ignore no-explicit-any -- the signature of the original
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

function fail(message: string, suffix: string | undefined): never {
  throw new AssertionError(suffix === undefined ? message : `${message}: ${suffix}`);
}

/** Asserts that `expr` is truthy. */
export function assert(expr: unknown, msg?: string): asserts expr {
  if (!expr) throw new AssertionError(msg ?? "Expected a truthy value");
}

/** Asserts that both values are deeply and strictly equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    nodeAssert.deepStrictEqual(actual, expected);
  } catch (error) {
    fail((error as Error).message, msg);
  }
}

/** Asserts that the values are not deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    nodeAssert.notDeepStrictEqual(actual, expected);
  } catch (error) {
    fail((error as Error).message, msg);
  }
}

/** Asserts that both values are the same by `Object.is`. */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (!Object.is(actual, expected)) {
    fail(`Expected ${Deno.inspect(actual)} to be ${Deno.inspect(expected)}`, msg);
  }
}

/** Asserts that the value is neither null nor undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) fail(`Expected a value, got ${actual}`, msg);
}

/** Asserts that the string matches the expression. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) fail(`Expected ${Deno.inspect(actual)} to match ${expected}`, msg);
}

/** Asserts that the string contains the other. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) {
    fail(`Expected ${Deno.inspect(actual)} to contain ${Deno.inspect(expected)}`, msg);
  }
}

/** Asserts that `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual >= expected)) fail(`Expected ${actual} >= ${expected}`, msg);
}

/** Asserts that `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) fail(`Expected ${actual} > ${expected}`, msg);
}

/** Asserts that `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) fail(`Expected ${actual} <= ${expected}`, msg);
}

/** Asserts that `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) fail(`Expected ${actual} < ${expected}`, msg);
}

/** Asserts that the value is an instance of the class. */
export function assertInstanceOf<E>(
  actual: unknown,
  // deno-lint-ignore no-explicit-any -- the signature of the original
  expectedType: abstract new (...args: any[]) => E,
  msg?: string,
): asserts actual is E {
  if (!(actual instanceof expectedType)) {
    fail(`Expected ${Deno.inspect(actual)} to be an instance of ${expectedType.name}`, msg);
  }
}

function checkThrown<E extends Error>(
  error: unknown,
  ErrorClass: ErrorClass<E> | undefined,
  msgIncludes: string | undefined,
  msg: string | undefined,
): E {
  if (ErrorClass !== undefined) assertInstanceOf(error, ErrorClass, msg);
  else assertInstanceOf(error, Error, msg);
  if (msgIncludes !== undefined) {
    assertStringIncludes((error as Error).message, msgIncludes, msg);
  }
  return error as E;
}

/** Asserts that the function throws, and returns what it threw. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass?: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E {
  let thrown: unknown;
  try {
    fn();
  } catch (error) {
    thrown = error;
    return checkThrown(thrown, ErrorClass, msgIncludes, msg);
  }
  return fail("Expected the function to throw", msg);
}

/** Asserts that the promise rejects, and returns what it rejected with. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass?: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E> {
  let thrown: unknown;
  try {
    await fn();
  } catch (error) {
    thrown = error;
    return checkThrown(thrown, ErrorClass, msgIncludes, msg);
  }
  return fail("Expected the promise to reject", msg);
}
