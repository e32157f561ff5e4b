/** Longest name of a command, in bytes: what a file may be called. */
const MAX_NAME_BYTES = 255

/**
 * Reports whether a command of the host can be called by this name inside a loop: as a file in a directory, and in no
 * shell anything but a word.
 */
export function isHostName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(name) && name.length <= MAX_NAME_BYTES
}
