/** Options that shape the container of a loop. */
import { join } from 'node:path'
import type { RequestParams } from '@loopatd/client'
import { parseSize, SIZE_RULE } from '@loopatd/protocol/size'
import { type Command, InvalidArgumentError, Option } from 'commander'

type CreateParams = RequestParams<'loop/create'>
export type Mount = NonNullable<CreateParams['mounts']>[number]

/** What the options say, by the names that commander gives them. */
export interface ContainerOptions {
  readonly mount?: readonly Mount[]
  readonly dns?: readonly string[]
  readonly memory?: number
  readonly cpus?: number
  readonly pids?: number
  readonly persistence?: CreateParams['persistence']
  readonly knowledgeRw?: boolean
  readonly mountAllLoops?: boolean
}

/** Adds the options that shape the container of a new loop. */
export function addContainerOptions(command: Command, cwd: string): Command {
  const mount = (text: string, before: readonly Mount[] = []) => [...before, readMount(text, cwd)]
  const address = (text: string, before: readonly string[] = []) => [...before, text]
  return command
    .option(
      '--mount <source:target>',
      'file or directory of this host; read-only without :rw at the end; repeatable',
      mount,
    )
    .option('--dns <address>', 'name server to use; repeatable', address)
    .option('--memory <size>', 'most memory, such as 512m or 2g', readSize)
    .option('--cpus <number>', 'most processors, such as 1.5', readNumber)
    .option('--pids <number>', 'most processes and threads', readNumber)
    .addOption(
      new Option(
        '--persistence <kind>',
        'keep the container over stops, or make a fresh one (default: persistent)',
      ).choices(['persistent', 'ephemeral']),
    )
    .option('--knowledge-rw', 'let the loop write its knowledge')
    .option('--mount-all-loops', 'show it the workdirs of all other loops, read-only')
}

/** What of `loop/create` the options stand for. */
export function containerParams(options: ContainerOptions): Partial<CreateParams> {
  const { mount, dns, memory, cpus, pids, persistence, knowledgeRw, mountAllLoops } = options
  const limits = {
    ...(memory === undefined ? {} : { memoryBytes: memory }),
    ...(cpus === undefined ? {} : { cpus }),
    ...(pids === undefined ? {} : { pids }),
  }
  return {
    ...(mount === undefined ? {} : { mounts: [...mount] }),
    ...(dns === undefined ? {} : { dns: [...dns] }),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
    ...(persistence === undefined ? {} : { persistence }),
    ...(knowledgeRw === undefined ? {} : { knowledgeRw }),
    ...(mountAllLoops === undefined ? {} : { mountAllLoops }),
  }
}

/**
 * Reads `SRC:DST[:ro|:rw]`. A relative source is one of the working directory; whatever else is wrong with a path, the
 * daemon says.
 */
export function readMount(text: string, cwd: string): Mount {
  const [source = '', target = '', mode = 'ro', ...rest] = text.split(':')
  if (source === '' || target === '' || rest.length > 0 || !['ro', 'rw'].includes(mode)) {
    throw new InvalidArgumentError('It is written SOURCE:TARGET, SOURCE:TARGET:ro or SOURCE:TARGET:rw.')
  }
  const isRelative = !/^[/~$]/.test(source) && !source.split('/').includes('..')
  return { source: isRelative ? join(cwd, source) : source, target, readOnly: mode === 'ro' }
}

/** Reads a size: a number of bytes, or of `k`, `m`, `g` or `t`, 1024 each. */
export function readSize(text: string): number {
  const size = parseSize(text)
  if (size === undefined) throw new InvalidArgumentError(`It ${SIZE_RULE}.`)
  return size
}

/** Reads a number. */
export function readNumber(text: string): number {
  const number = Number(text)
  if (text.trim() === '' || !Number.isFinite(number)) throw new InvalidArgumentError('It is not a number.')
  return number
}
