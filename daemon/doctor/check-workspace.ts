/** The workspace: its directories, its disk, its loops and its image. */
import type { DoctorCheck } from '@loopatd/protocol'
import { failed, ok, warning } from './finding.ts'
import type { HostProbe } from './host-probe.ts'

/** Free space below which nothing works, and below which an image build may fail, in bytes. */
const DISK_FAILED = 268_435_456
const DISK_WARNING = 4_294_967_296
/** Age beyond which the sandbox image misses too many security updates, in days. */
const IMAGE_OLD_DAYS = 60
const DAY_MS = 86_400_000

/** What the checks look at. */
export interface WorkspaceFacts {
  readonly home: string
  readonly runtime: string
  /** Loops whose metadata cannot be read. */
  readonly broken: readonly { readonly id: string; readonly reason: string | null }[]
  /** Mounts of the configuration that are left out. */
  readonly refusedMounts: readonly { readonly source: string; readonly target: string; readonly why: string }[]
  /** Grants of host commands that let nothing run, and files of grants that cannot be read. */
  readonly hostFaults: readonly { readonly what: string; readonly why: string }[]
  readonly storage: { readonly writable: boolean; readonly reason: string | null }
  /** Undefined when podman cannot be asked. */
  readonly image:
    | {
        readonly tag: string
        readonly present: boolean
        readonly createdAt: string | null
        readonly source: 'built' | 'named'
      }
    | undefined
  /** Whether `image.base` is configured. */
  readonly hasBase: boolean
  readonly now: Date
}

async function checkPrivate(path: string, name: string, probe: HostProbe): Promise<DoctorCheck> {
  const check = { name, label: `${path} is private` }
  const found = await probe.stat(path)
  if (found === undefined) return failed(check, 'missing', `mkdir -p -m 0700 ${path}`)
  if (found.uid !== probe.uid)
    return failed(check, `belongs to uid ${found.uid}`, `sudo chown ${probe.userName} ${path}`)
  if ((found.mode & 0o077) !== 0) return failed(check, `mode ${found.mode.toString(8)}`, `chmod 0700 ${path}`)
  return ok(check, 'mode 700')
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1_073_741_824).toFixed(1)} GiB free`
}

async function checkDisk(facts: WorkspaceFacts, probe: HostProbe): Promise<DoctorCheck> {
  const check = { name: 'disk', label: `disk space for ${facts.home}` }
  const free = await probe.freeBytes(facts.home)
  if (!facts.storage.writable)
    return failed(
      check,
      facts.storage.reason ?? 'metadata cannot be written',
      'free space, or make the file system writable',
    )
  if (free < DISK_FAILED) return failed(check, gigabytes(free), 'free some space')
  if (free < DISK_WARNING) return warning(check, gigabytes(free), 'free some space before building images')
  return ok(check, gigabytes(free))
}

function checkLoops(facts: WorkspaceFacts): DoctorCheck[] {
  const check = { name: 'loops', label: 'metadata of loops' }
  if (facts.broken.length === 0) return [ok(check, 'all readable')]
  return facts.broken.map(({ id, reason }) =>
    warning(
      { ...check, name: `loop-${id}` },
      `${id}: ${reason ?? 'unreadable'}`,
      `correct ${facts.home}/loops/${id}/meta.json by hand`,
    ),
  )
}

function checkMounts({ refusedMounts }: WorkspaceFacts): DoctorCheck[] {
  return refusedMounts.map(({ source, target, why }, index) =>
    warning(
      { name: `mount-${index + 1}`, label: `mount of ${source} at ${target}` },
      `left out: ${why}`,
      'correct [[mounts]] in config.toml, then run: loopctl daemon restart',
    ),
  )
}

function checkGrants({ hostFaults }: WorkspaceFacts): DoctorCheck[] {
  return hostFaults.map(({ what, why }, index) =>
    warning(
      { name: `host-command-${index + 1}`, label: `host commands: ${what}` },
      why,
      'correct it; see: loopctl host ls',
    ),
  )
}

async function checkImage(facts: WorkspaceFacts, probe: HostProbe): Promise<DoctorCheck> {
  const check = { name: 'image', label: 'sandbox image' }
  const { image } = facts
  if (image === undefined) return warning(check, 'unknown: podman does not answer', null)
  if (image.present) {
    const days = image.createdAt === null ? 0 : (facts.now.getTime() - Date.parse(image.createdAt)) / DAY_MS
    if (image.source === 'built' && days > IMAGE_OLD_DAYS)
      return warning(check, `${Math.floor(days)} days old`, 'loopctl image build --rebuild')
    return ok(check, image.tag)
  }
  if (image.source === 'named') return warning(check, `${image.tag} is not here; it will be pulled`, null)
  if (!facts.hasBase && (await probe.which('mmdebstrap')) === undefined) {
    return failed(
      check,
      'not built, and its base can be neither pulled nor made',
      'sudo apt-get install mmdebstrap, or set image.base in config.toml',
    )
  }
  return ok(check, 'not built yet; the first start builds it')
}

/** Checks the workspace. */
export async function checkWorkspace(facts: WorkspaceFacts, probe: HostProbe): Promise<DoctorCheck[]> {
  return [
    ...(await Promise.all([
      checkPrivate(facts.home, 'home', probe),
      checkPrivate(facts.runtime, 'runtime', probe),
      checkDisk(facts, probe),
      checkImage(facts, probe),
    ])),
    ...checkLoops(facts),
    ...checkMounts(facts),
    ...checkGrants(facts),
  ]
}
