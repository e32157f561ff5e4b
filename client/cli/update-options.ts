/** Options that change a loop. */
import type { RequestParams } from '@loopatd/client'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type Mount, readMount, readNumber, readSize } from './container-options.ts'

/** What a change is asked for with. */
export type Wishes = Omit<RequestParams<'loop/plan'>, 'loop'>
type Limits = NonNullable<Wishes['limits']>

/** Takes a limit away. */
const NONE = 'none'

/** What the options say, by the names that commander gives them. */
export interface UpdateOptions {
  readonly image?: string | false
  readonly vault?: string
  readonly mount?: readonly Mount[]
  readonly unmount?: readonly string[]
  readonly dns?: readonly string[] | false
  readonly limits?: Limits
  readonly memory?: number | null
  readonly cpus?: number | null
  readonly pids?: number | null
  readonly persistence?: NonNullable<Wishes['persistence']>
  readonly knowledgeRw?: boolean
  readonly env?: Readonly<Record<string, string>>
  readonly unsetEnv?: readonly string[]
}

/** Adds the options that say what is to be different. */
export function addUpdateOptions(command: Command, cwd: string): Command {
  const list = (text: string, before: readonly string[] | boolean = []) => [...(isList(before) ? before : []), text]
  return command
    .option('--image <image>', 'image to use; any with /bin/sh')
    .option('--no-image', 'use the sandbox image of the workspace')
    .option('--vault <vault>', 'vault whose variables and files the loop gets')
    .option(
      '--mount <source:target>',
      'file or directory of this host to add, or to put in place of what is mounted there; repeatable',
      (text: string, before: readonly Mount[] = []) => [...before, readMount(text, cwd)],
    )
    .option('--unmount <target>', 'mount of this loop to take away; repeatable', list)
    .option('--dns <address>', 'name server to use, in place of those before; repeatable', list)
    .option('--no-dns', 'use the name servers of the network')
    .option('--limits <list>', 'limits in one, such as memory=2g,cpus=1.5,pids=none', readLimits)
    .option('--memory <size>', 'most memory, such as 512m, or none', orNone(readSize))
    .option('--cpus <number>', 'most processors, such as 1.5, or none', orNone(readNumber))
    .option('--pids <number>', 'most processes and threads, or none', orNone(readNumber))
    .addOption(
      new Option('--persistence <kind>', 'keep the container over stops, or make a fresh one').choices([
        'persistent',
        'ephemeral',
      ]),
    )
    .option('--knowledge-rw', 'let the loop write its knowledge')
    .option('--no-knowledge-rw', 'let the loop only read its knowledge')
    .option('--env <name=value>', 'plain variable to set; repeatable', readVariable)
    .option('--unset-env <name>', 'plain variable to take away; repeatable', list)
}

/** What of `loop/plan` and `loop/update` the options stand for. */
export function wishesOf(options: UpdateOptions): Wishes {
  const { image, vault, mount, unmount, dns, persistence, knowledgeRw } = options
  const limits = limitsOf(options)
  const env = {
    ...Object.fromEntries((options.unsetEnv ?? []).map((name) => [name, null])),
    ...options.env,
  }
  return {
    ...(image === undefined ? {} : { image: image === false ? null : image }),
    ...(vault === undefined ? {} : { vault }),
    ...(mount === undefined ? {} : { mounts: [...mount] }),
    ...(unmount === undefined ? {} : { removeMounts: [...unmount] }),
    ...(dns === undefined ? {} : { dns: dns === false ? [] : [...dns] }),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
    ...(persistence === undefined ? {} : { persistence }),
    ...(knowledgeRw === undefined ? {} : { knowledgeRw }),
    ...(Object.keys(env).length === 0 ? {} : { env }),
  }
}

/** Reads `memory=2g,cpus=1.5,pids=none`. */
export function readLimits(text: string, before: Limits = {}): Limits {
  return Object.assign({}, before, ...text.split(',').map(readLimit))
}

function readLimit(text: string): Limits {
  const [name = '', value = '', ...rest] = text.split('=')
  if (rest.length > 0 || value === '') throw new InvalidArgumentError('It is written NAME=VALUE,NAME=VALUE.')
  switch (name) {
    case 'memory':
      return { memoryBytes: orNone(readSize)(value) }
    case 'cpus':
      return { cpus: orNone(readNumber)(value) }
    case 'pids':
      return { pids: orNone(readNumber)(value) }
    default:
      throw new InvalidArgumentError('There are the limits memory, cpus and pids.')
  }
}

function limitsOf({ limits = {}, memory, cpus, pids }: UpdateOptions): Limits {
  return {
    ...limits,
    ...(memory === undefined ? {} : { memoryBytes: memory }),
    ...(cpus === undefined ? {} : { cpus }),
    ...(pids === undefined ? {} : { pids }),
  }
}

function orNone(read: (text: string) => number): (text: string) => number | null {
  return (text) => (text === NONE ? null : read(text))
}

function readVariable(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const end = text.indexOf('=')
  if (end < 1) throw new InvalidArgumentError('It is written NAME=VALUE.')
  return { ...before, [text.slice(0, end)]: text.slice(end + 1) }
}

function isList(value: readonly string[] | boolean): value is readonly string[] {
  return typeof value !== 'boolean'
}
