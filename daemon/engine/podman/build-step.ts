import { constants } from 'node:fs'
import { open, readdir, readFile } from 'node:fs/promises'

/** The program that podman runs a step's command under. */
const RUNTIME = 'buildah-oci-runtime'

/** More than podman writes into the file. */
const MAX_BYTES = 4096

/**
 * Kills the running step of a build that was given up: podman lets it go on to its end.
 * @param containers ids of the working containers of that build
 */
export async function killBuildSteps(containers: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || !(await isBuildStep(name))) continue
    const id = await readContainerId(name)
    if (id !== undefined && containers.has(id)) kill(Number(name))
  }
}

async function isBuildStep(pid: string): Promise<boolean> {
  const stat = await readText(`/proc/${pid}/stat`)
  const parent = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
  if (parent === undefined) return false
  const command = await readText(`/proc/${parent}/cmdline`)
  return command?.split('\0')[0] === RUNTIME
}

/** Id of the working container that a process is in, from the file that podman puts there. What it runs may have replaced the file. */
async function readContainerId(pid: string): Promise<string | undefined> {
  const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants
  const path = `/proc/${pid}/root/run/.containerenv`
  const file = await unlessGone(open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW))
  if (file === undefined) return undefined
  try {
    if (!(await file.stat()).isFile()) return undefined
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0)
    return /^id="([0-9a-f]+)"$/m.exec(buffer.toString('utf8', 0, bytesRead))?.[1]
  } finally {
    await file.close()
  }
}

function readText(path: string): Promise<string | undefined> {
  return unlessGone(readFile(path, 'utf8'))
}

async function unlessGone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    const gone = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ELOOP', 'ENXIO', 'ENOTDIR']
    if (error instanceof Error && 'code' in error && gone.includes(String(error.code))) return undefined
    throw error
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return
    throw error
  }
}
