/**
 * Appending one array to another, however long it is.
 *
 * @module
 */

/**
 * Adds the items to the end of `to`. `to.push(...items)` would put every item on the stack. Some
 * hundred thousand items overflow it, and so many answers may wait for one write of a stalled disk.
 */
export function appendAll<Item>(to: Item[], items: Iterable<Item>): void {
  for (const item of items) to.push(item);
}
