import { resolve } from 'node:path'
import type { RequestParams } from '@loopatd/client'
import type { LoopInfo } from '@loopatd/protocol'
import type { Command } from 'commander'
import { addContainerOptions, type ContainerOptions, containerParams } from '../container-options.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../exit.ts'
import { interactive } from '../interactive.ts'
import { SHORT_ID } from '../loop-table.ts'

interface Options extends ContainerOptions {
  readonly title?: string
  readonly name?: string
  readonly repo?: string
  readonly ref?: string
  readonly image?: string
  readonly vault?: string
  readonly start: boolean
  readonly json?: boolean
}

/** `loopctl create` */
export function configure(command: Command, context: Context): void {
  command
    .argument('[title...]', 'title; the words are joined')
    .option('--title <text>', 'title, in place of the words')
    .option('--name <name>', 'name: a-z, 0-9 and "-" (default: made from the title)')
    .option('--repo <source>', 'repository to work on: an URL, a path, or a name from the configuration')
    .option('--ref <ref>', "branch, tag or commit to start from (default: the origin's default branch)")
    .option('--image <image>', 'image to use in place of the sandbox image; any with /bin/sh')
  addContainerOptions(command, context.cwd)
    .option('--vault <vault>', 'vault whose variables and files the loop gets (default: "default")')
    .option('--no-start', 'do not start the loop')
    .option('--json', 'the loop as an object')
    .action((words: string[], options: Options) => create(words, options, context))
}

async function create(words: readonly string[], options: Options, context: Context): Promise<void> {
  const params = { ...createParams(words, options, context.cwd), ...interactive(context) }
  const { loop } = await context.withClient((client) =>
    client.loop.create(params, {
      signal: context.signal,
      onProgress: (progress) => context.output.progress.update(progress),
    }),
  )
  if (options.json) {
    context.output.json(loop)
    return
  }
  context.output.note(created(loop))
  context.output.line(loop.name)
}

function created({ name, id, branch, state }: LoopInfo): string {
  const where = branch === null ? '' : ` on branch ${branch}`
  const next = state === 'running' ? `loopctl shell ${name}` : `loopctl start ${name}`
  return `Created ${name} (${id.slice(0, SHORT_ID)})${where}. Next: ${next}`
}

/**
 * What `loop/create` is asked for.
 * @throws UsageError when options do not go together
 */
export function createParams(words: readonly string[], options: Options, cwd: string): RequestParams<'loop/create'> {
  if (words.length > 0 && options.title !== undefined) {
    throw new UsageError('create: the title is given twice', 'Give it as words or with --title.')
  }
  if (options.ref !== undefined && options.repo === undefined) {
    throw new UsageError('create: --ref needs --repo', 'Name the repository that the ref is in.')
  }
  const title = words.length > 0 ? words.join(' ') : options.title
  return {
    ...(title === undefined ? {} : { title }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.repo === undefined ? {} : { repo: repository(options.repo, options.ref, cwd) }),
    ...(options.image === undefined ? {} : { image: options.image }),
    // A blank one is none (rule V-4).
    ...(options.vault === undefined || options.vault.trim() === '' ? {} : { vault: options.vault }),
    ...containerParams(options),
    start: options.start,
  }
}

function repository(source: string, ref: string | undefined, cwd: string): { source: string; ref?: string } {
  return { source: absoluteSource(source, cwd), ...(ref === undefined ? {} : { ref }) }
}

/**
 * The daemon has a working directory of its own: paths are made absolute here. URLs, `user@host:path` and names of the
 * roster, which have no slash, are left as they are.
 */
export function absoluteSource(source: string, cwd: string): string {
  const isUrl = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(source)
  const isScp = /^[^/]+:/.test(source)
  if (isUrl || isScp) return source
  const isPath = source.includes('/') || source === '.' || source === '..'
  return isPath ? resolve(cwd, source) : source
}
