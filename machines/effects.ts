/**
 * An effect: the chart asks for it by name, and whoever hosts the chart performs it (chart_host.ts).
 * So XState's own implementation of it does nothing.
 *
 * @module
 */

/** The implementation of every effect. */
export function effect(): void {}
