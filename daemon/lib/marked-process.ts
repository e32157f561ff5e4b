import { open, readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorCode } from './error-code.ts'

/** How long killed processes may take to be gone, in milliseconds. */
const GONE_MS = 3000
/** Processes that are looked at at the same time. */
const MAX_LOOKS = 8
/**
 * Bytes that are read of an environment: at once, and at most. No kernel starts a program with more than 6 MiB, but what
 * it shows as the environment is for the process to say.
 */
const ENVIRONMENT_BYTES = { atOnce: 65_536, max: 8_388_608 } as const

/** Variables by which processes are found, however their parents ended. */
export type Mark = Readonly<Record<string, string>>

/** The mark of the processes of one call. @param id one that nothing else has */
export function markOfCall(id: string): Mark {
  return { LOOPATD_HELPER_CALL: id }
}

/** The mark of the programs that the daemon of a home runs for its own work, and that must not outlive it. */
export function markOfHome(home: string): Mark {
  return { LOOPATD_HELPER_HOME: home }
}

/**
 * Kills every process of this user that carries the mark. A program ends its own helpers only when it has the time: an
 * ssh or a git-remote-https that still waits for a server outlives its git.
 * @returns process ids that were killed
 */
export async function killMarked(mark: Mark): Promise<number[]> {
  const pairs = Object.entries(mark).map(([name, value]) => Buffer.from(`\0${name}=${value}\0`))
  const pids = (await readdir('/proc')).filter((name) => /^[1-9][0-9]*$/.test(name)).map(Number)
  const killed: number[] = []
  const unseen = pids.values()
  const look = async () => {
    const buffer = Buffer.allocUnsafe(ENVIRONMENT_BYTES.atOnce + Math.max(...pairs.map(({ length }) => length)))
    for (const pid of unseen)
      if (pid !== process.pid && (await carries(pid, pairs, buffer)) && kill(pid)) killed.push(pid)
  }
  await Promise.all(Array.from({ length: MAX_LOOKS }, look))
  return killed
}

/**
 * Kills them, and waits until none is left: what they worked on can be tidied up then.
 * @returns how many there were
 */
export async function endMarked(mark: Mark): Promise<number> {
  const ended = new Set<number>()
  const deadline = performance.now() + GONE_MS
  // One that was just being started is found by the next look.
  for (let left = await killMarked(mark); left.length > 0; left = await killMarked(mark)) {
    for (const pid of left) ended.add(pid)
    if (performance.now() > deadline) break
    await sleep(10)
  }
  return ended.size
}

/** @param buffer takes a piece of the environment, and behind it as much as the longest pair */
async function carries(pid: number, pairs: readonly Buffer[], buffer: Buffer): Promise<boolean> {
  const { atOnce, max } = ENVIRONMENT_BYTES
  const missing = new Set(pairs)
  try {
    await using file = await open(`/proc/${pid}/environ`)
    // The first variable has no NUL before it.
    let kept = buffer.writeUInt8(0)
    for (let read = 0; missing.size > 0 && read < max; ) {
      const { bytesRead } = await file.read(buffer, kept, atOnce)
      if (bytesRead === 0) break
      read += bytesRead
      const seen = buffer.subarray(0, kept + bytesRead)
      for (const pair of missing) if (seen.includes(pair)) missing.delete(pair)
      // A pair may go on in the next piece.
      kept = Math.min(seen.length, buffer.length - atOnce)
      seen.copyWithin(0, seen.length - kept)
    }
    return missing.size === 0
  } catch {
    // It has ended meanwhile, belongs to somebody else, or shows what nobody can read.
    return false
  }
}

function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (errorCode(error) === 'ESRCH') return false
    throw error
  }
}
