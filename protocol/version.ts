/** Version of the contract and of the packages that ship with it. */

/** The protocol version spoken by this build. Raised when a change would break an older peer. */
export const PROTOCOL_VERSION = 1

/** Versions a daemon of this build serves: the current one and the one before it, once there is one. */
export const SUPPORTED_PROTOCOL_VERSIONS: readonly number[] = [PROTOCOL_VERSION]

/** Version of the product; a test holds it to every package.json. */
export const VERSION = '0.1.0'
