import type { ResultOf } from '@loopatd/protocol'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { type Cell, table } from '../table.ts'
import { bytes } from '../text.ts'

type Inspected = ResultOf<'loop/inspect'>

/** `loopctl inspect` */
export function configure(command: Command, context: Context): void {
  command
    .argument('<loop>', 'name, id or beginning of an id')
    .option('--json', 'one object, with everything that takes a new container when it changes')
    .action((loop: string, options: { json?: boolean }) => inspect(loop, options, context))
}

async function inspect(ref: string, { json }: { json?: boolean }, context: Context): Promise<void> {
  const result = await context.withClient((client) => client.loop.inspect({ loop: ref }, { signal: context.signal }))
  if (json) {
    context.output.json(result)
    return
  }
  context.output.text(await table([], facts(result), context.output.coloured))
  context.output.text('\n')
  context.output.text(await table(['TARGET', 'MODE', 'FROM', 'SOURCE'], mounts(result), context.output.coloured))
}

function facts(result: Inspected): Cell[][] {
  const { name, id, image, vault, user, env, dns, limits, persistence, network, hash, drift } = result
  const known =
    hash.used === null || hash.used === hash.wanted ? hash.wanted : `${hash.wanted} (made with ${hash.used})`
  const rows: [string, Cell][] = [
    ['name', { text: name, colour: 'bold' }],
    ['id', id],
    ['image', `${image.wanted ?? 'the sandbox image'}${image.id === null ? '' : ` (${image.id.slice(0, 12)})`}`],
    ['user', user],
    ['vault', vault],
    ['variables', env.map((variable) => `${variable.name} (${variable.origin})`).join(', ')],
    ['network', network],
    ['name servers', dns.length === 0 ? 'those of the network' : dns.join(', ')],
    ['limits', limitWords(limits)],
    ['persistence', persistence],
    ['knowledge', result.knowledgeRw ? 'writable' : 'read-only'],
    ['other loops', result.mountAllLoops ? 'mounted' : 'not mounted'],
    ['hash', known],
    [
      'drift',
      drift === null ? 'none' : { text: `${drift}: the next start makes the container anew`, colour: 'yellow' },
    ],
  ]
  return rows.map(([label, value]) => [{ text: label, colour: 'dim' }, value])
}

function limitWords({ memoryBytes, cpus, pids }: Inspected['limits']): string {
  const words = [
    ...(memoryBytes === undefined ? [] : [`memory ${bytes(memoryBytes)}`]),
    ...(cpus === undefined ? [] : [`processors ${cpus}`]),
    ...(pids === undefined ? [] : [`processes ${pids}`]),
  ]
  return words.length === 0 ? 'none' : words.join(', ')
}

function mounts(result: Inspected): Cell[][] {
  return [
    ...result.mounts.map(({ target, readOnly, origin, source }) => [target, readOnly ? 'ro' : 'rw', origin, source]),
    ...result.skipped.map(({ target, origin, why }): Cell[] => [
      target,
      '-',
      origin,
      { text: `left out: ${why}`, colour: 'yellow' },
    ]),
  ]
}
