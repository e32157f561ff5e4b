import type { ImageInfo } from '@loopatd/protocol'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { SHORT_ID } from '../loop-table.ts'
import { table } from '../table.ts'
import { age, bytes } from '../text.ts'

interface Options {
  readonly rebuild?: boolean
  readonly json?: boolean
}

/** `loopctl image` */
export function configure(command: Command, context: Context): void {
  command
    .command('build')
    .description('make sure that the sandbox image exists')
    .option('--rebuild', 'build it even when it exists, from a fresh base')
    .option('--json', 'one object')
    .action((options: Options) => build(options, context))
  command
    .command('status')
    .description('show the sandbox image')
    .option('--json', 'one object')
    .action((options: Options) => status(options, context))
}

async function build({ rebuild, json }: Options, context: Context): Promise<void> {
  const image = await context.withClient((client) =>
    client.image.build(
      { rebuild: rebuild === true },
      { signal: context.signal, onProgress: (progress) => context.output.progress.update(progress) },
    ),
  )
  if (json) context.output.json(image)
  else context.output.line(image.tag)
}

async function status({ json }: Options, context: Context): Promise<void> {
  const image = await context.withClient((client) => client.image.status({ signal: context.signal }))
  if (json) context.output.json(image)
  else context.output.text(await table([], describe(image, context.now()), context.output.coloured))
}

function describe(image: ImageInfo, now: number): string[][] {
  const state = image.building ? 'being built' : image.present ? 'present' : 'missing; the first start makes it'
  return [
    ['image', image.tag],
    ['source', image.source],
    ['state', state],
    ...(image.id === null ? [] : [['id', image.id.slice(0, SHORT_ID)]]),
    ...(image.createdAt === null ? [] : [['created', `${image.createdAt} (${age(image.createdAt, now)} ago)`]]),
    ...(image.sizeBytes === null ? [] : [['size', bytes(image.sizeBytes)]]),
  ]
}
