/**
 * An effect: the chart asks for it by name, and the owner of the chart performs it (chart_host.ts).
 * What XState itself runs for it does nothing.
 *
 * @module
 */

/** The implementation of every effect. */
export function effect(): void {}
