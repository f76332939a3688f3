/**
 * Latencies in buckets of equal relative width, so that a run of any length costs the same memory.
 *
 * @module
 */

/** Buckets to each doubling: a percentile is at most 1/32 above the true one. */
const SUB_BUCKETS = 32;
const SUB_BITS = 5;
/** Doublings above the first 32 microseconds; what is beyond (about 19 hours) counts as that. */
const DOUBLINGS = 31;

/** Counts latencies in microseconds; O(1) for each. */
export class LatencyHistogram {
  readonly #counts = new Float64Array((DOUBLINGS + 1) * SUB_BUCKETS);
  #count = 0;
  #maxUs = 0;

  /** Latencies counted. */
  get count(): number {
    return this.#count;
  }

  /** The longest, exactly. */
  get maxUs(): number {
    return this.#maxUs;
  }

  /** Counts one latency. */
  record(us: number): void {
    const at = bucketOf(Math.max(0, Math.floor(us)));
    this.#counts[at] = this.#counts[at]! + 1;
    this.#count++;
    if (us > this.#maxUs) this.#maxUs = us;
  }

  /** The smallest bucket bound that `fraction` of the latencies do not exceed; 0 if there are none. */
  percentileUs(fraction: number): number {
    const rank = Math.ceil(this.#count * fraction);
    let seen = 0;
    for (let at = 0; at < this.#counts.length; at++) {
      seen += this.#counts[at]!;
      if (seen >= rank && seen > 0) return Math.min(this.#maxUs, boundOf(at));
    }
    return this.#maxUs;
  }
}

/** Below 32 us a bucket is one microsecond wide, above it a 32nd of its power of two. */
function bucketOf(us: number): number {
  if (us < SUB_BUCKETS) return us;
  const doubling = Math.min(DOUBLINGS, Math.floor(Math.log2(us)) - SUB_BITS + 1);
  const sub = Math.min(SUB_BUCKETS - 1, Math.floor(us / 2 ** (doubling - 1)) - SUB_BUCKETS);
  return doubling * SUB_BUCKETS + sub;
}

/** The upper bound of a bucket. */
function boundOf(at: number): number {
  const doubling = Math.floor(at / SUB_BUCKETS);
  const sub = at % SUB_BUCKETS;
  if (doubling === 0) return sub;
  return (SUB_BUCKETS + sub + 1) * 2 ** (doubling - 1) - 1;
}
