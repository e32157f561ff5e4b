import { isUtf8 } from 'node:buffer'
import { join } from 'node:path'
import { EnvName, MAX_ENV_BYTES, MAX_ENV_VALUE_BYTES } from '@loopatd/protocol'
import { type Complaint, compareNames, type Fence } from './fence.ts'
import { listInside, readInside } from './safe-read.ts'

/** Line ends that editors and `echo` leave behind a value. */
const MAX_LINE_ENDS = 64

/** The variables of a vault. */
export interface VaultEnv {
  /** Sorted by name. */
  readonly values: ReadonlyMap<string, string>
  readonly complaints: readonly Complaint[]
}

/**
 * Reads the variables of a vault: the content of `envs/<NAME>` without trailing line ends (rule V-2). Hidden entries are
 * nobody's; all others that cannot be delivered are complained about.
 */
export async function readVaultEnv(fence: Fence): Promise<VaultEnv> {
  const { names, complaints } = await listInside(fence, fence.envs, 'envs')
  const values = new Map<string, string>()
  let left = MAX_ENV_BYTES
  for (const name of names.filter((entry) => !entry.startsWith('.')).sort(compareNames)) {
    const read = await readVariable(fence, name)
    const size = 'value' in read ? sizeOf(name, read.value) : 0
    left -= size
    if ('value' in read && left >= 0) values.set(name, read.value)
    else complaints.push('value' in read ? { entry: entryOf(name), target: null, why: TOO_MUCH } : read)
  }
  return { values, complaints }
}

const TOO_MUCH = `makes the variables of the vault larger than ${MAX_ENV_BYTES} bytes`

/** Bytes that a variable takes in an environment. */
export function sizeOf(name: string, value: string): number {
  return Buffer.byteLength(name) + Buffer.byteLength(value) + 2
}

/**
 * Says what keeps a text from being the value of a variable; undefined when nothing does.
 * @param bytes the value as it is stored
 */
export function badValue(bytes: Buffer): string | undefined {
  if (bytes.includes(0)) return 'holds a NUL, which no variable can'
  if (!isUtf8(bytes)) return 'is no UTF-8 text'
  return bytes.length > MAX_ENV_VALUE_BYTES ? `is larger than ${MAX_ENV_VALUE_BYTES} bytes` : undefined
}

/** The value in a file: all of it but the line ends behind it. */
export function withoutLineEnds(text: string): string {
  return text.replace(/[\r\n]+$/, '')
}

async function readVariable(fence: Fence, name: string): Promise<{ readonly value: string } | Complaint> {
  const entry = entryOf(name)
  if (!EnvName.safeParse(name).success) return { entry, target: null, why: 'is not the name of a variable' }
  const read = await readInside(fence, join(fence.envs, name), MAX_ENV_VALUE_BYTES + MAX_LINE_ENDS)
  if (!Buffer.isBuffer(read)) return { entry, ...read }
  const value = withoutLineEnds(read.toString('latin1'))
  const bytes = Buffer.from(value, 'latin1')
  const why = badValue(bytes)
  return why === undefined ? { value: bytes.toString() } : { entry, target: null, why }
}

function entryOf(name: string): string {
  return `envs/${name}`
}
