import { join } from 'node:path'
import { LoopId } from '@loopatd/protocol'

/** Where the parts of one loop are on the host. */
export interface LoopPaths {
  readonly directory: string
  readonly meta: string
  /** Marks a directory that is still being made, until the metadata is there. */
  readonly creating: string
  readonly workdir: string
  /** The home inside; survives the container. */
  readonly home: string
  /** Written from inside: job logs and exit records. */
  readonly run: string
  /** Records of its jobs; nothing inside can reach them. */
  readonly jobs: string
}

/**
 * Places of a loop.
 * @param loops directory of all loops
 * @param id a single path component that was found in that directory, or a checked id
 */
export function loopPaths(loops: string, id: string): LoopPaths {
  const directory = join(loops, id)
  return {
    directory,
    meta: join(directory, 'meta.json'),
    creating: join(directory, '.creating'),
    workdir: join(directory, 'workdir'),
    home: join(directory, 'home-upper'),
    run: join(directory, 'run'),
    jobs: join(directory, 'jobs'),
  }
}

/** Reports whether a name is a loop id, and so safe as a path component. */
export function isLoopId(name: string): boolean {
  return LoopId.safeParse(name).success
}
