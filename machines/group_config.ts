/**
 * What the members of a group have agreed on besides the state of its machine: an entry of kind
 * "config". Today that is the cluster version.
 *
 * Members are upgraded one by one, so builds of two versions share a cluster for a while. The newer one
 * may know kinds of entries and requests that the older one cannot read, and an entry that a member
 * cannot read is the end of that member. So nobody writes such an entry before the members have agreed
 * on the cluster version that it belongs to: a leader proposes one once every member says that its build
 * knows it. From then on a build that does not know it must not take part, and stops.
 *
 * @module
 */

/** The cluster versions that this build knows, from the lowest to the highest. */
export const CLUSTER_VERSIONS = { min: 1, max: 1 } as const;

/** Highest cluster version that an entry may carry. */
const CLUSTER_VERSION_MAX = 2 ** 31;
const CONFIG_BYTES = 4;

/** See the module. */
export interface GroupConfig {
  /** The version that all members know; it never falls. */
  readonly clusterVersion: number;
}

/** The payload of a config entry. */
export function encodeConfig({ clusterVersion }: GroupConfig): Uint8Array {
  const bytes = new Uint8Array(CONFIG_BYTES);
  new DataView(bytes.buffer).setUint32(0, clusterVersion);
  return bytes;
}

/**
 * Reads what {@linkcode encodeConfig} wrote. What a later version has appended is read over: whoever
 * must understand it is told by the cluster version.
 *
 * @throws {RangeError} If the payload is too short, or no version.
 */
export function decodeConfig(payload: Uint8Array): GroupConfig {
  const { buffer, byteOffset, length } = payload;
  const clusterVersion = length < CONFIG_BYTES
    ? 0
    : new DataView(buffer, byteOffset, length).getUint32(0);
  if (clusterVersion < 1 || clusterVersion > CLUSTER_VERSION_MAX) {
    throw new RangeError(`Cannot read a configuration of ${length} bytes`);
  }
  return { clusterVersion };
}

/** The cluster has agreed on a version that this build does not know. */
export class ClusterVersionError extends Error {
  /** Its class's name. */
  override readonly name = "ClusterVersionError";
  /** What the cluster has agreed on. */
  readonly clusterVersion: number;

  /** See the class; `knownMax` is the highest that this build knows. */
  constructor(clusterVersion: number, knownMax: number) {
    super(
      `Cannot take part: the cluster has agreed on version ${clusterVersion}, and this build knows ` +
        `versions up to ${knownMax}; start this member with the build that the others run`,
    );
    this.clusterVersion = clusterVersion;
  }
}
