import type { LoopatClient } from '@loopatd/client'
import { isLoopatError } from '@loopatd/protocol/error'
import type { Command } from 'commander'
import { candidates, type Lookup } from '../candidate.ts'
import type { Context } from '../context.ts'
import { describeGrant } from '../host-table.ts'
import { describeJob } from '../job-table.ts'
import { makeProgram } from '../program.ts'
import { printable } from '../text.ts'

/** A daemon that does not answer by then must not hold up the user's shell, in milliseconds. */
const PATIENCE_MS = 1_000

/** `loopctl __complete -- WORD...`: what the completion scripts call with the words up to the cursor. */
export function configure(command: Command, context: Context): void {
  command
    .argument('[word...]', 'words behind loopctl; the last one is what is completed')
    .helpOption(false)
    .action((words: string[]) => complete(words, context))
}

async function complete(words: readonly string[], context: Context): Promise<void> {
  const found = await candidates(words, {
    program: (name) => makeProgram(name, context),
    lookup: (...wanted) => ask(wanted, context),
  })
  for (const { value, meaning } of found) {
    context.output.text(`${printable(value)}${meaning === '' ? '' : `\t${printable(meaning)}`}\n`)
  }
}

/** Asks a daemon that runs; without one there is nothing to offer, and nothing to say about it. */
async function ask(
  wanted: readonly [Lookup, (string | undefined)?],
  context: Context,
): Promise<{ value: string; meaning: string }[]> {
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(PATIENCE_MS)])
  const tooLate = new Promise<[]>((resolve) => signal.addEventListener('abort', () => resolve([]), { once: true }))
  try {
    return await Promise.race([context.withClient((client) => answer(wanted, client), { start: false }), tooLate])
  } catch (error) {
    if (isLoopatError(error)) return []
    throw error
  }
}

async function answer(
  [lookup, loop = '']: readonly [Lookup, (string | undefined)?],
  client: LoopatClient,
): Promise<{ value: string; meaning: string }[]> {
  if (lookup === 'method') return client.server.capabilities.map((value) => ({ value, meaning: '' }))
  if (lookup === 'approval') {
    const { approvals } = await client.host.pending()
    return approvals.map(({ id, loopName, command }) => ({ value: id, meaning: `${loopName}: ${command}` }))
  }
  if (lookup === 'grant') {
    const { grants } = await client.host.list({ loop })
    const own = grants.filter(({ origin }) => origin === 'loop')
    return own.map((grant) => ({ value: grant.id, meaning: describeGrant(grant) }))
  }
  if (lookup === 'job') {
    const { jobs } = await client.job.list({ loop })
    return jobs.map((job) => ({ value: job.id, meaning: `${describeJob(job)}: ${job.command.join(' ')}` }))
  }
  if (lookup === 'vault') {
    const { vaults } = await client.vault.list()
    return vaults.map(({ name, env, home }) => ({
      value: name,
      meaning: `${env.length} variables, ${home.length} in the home`,
    }))
  }
  const { loops } = await client.loop.list({ archived: lookup === 'loop' ? 'exclude' : ARCHIVED[lookup] })
  return loops.map(({ name, state, title }) => ({ value: name, meaning: `${state}: ${title}` }))
}

const ARCHIVED = { 'any loop': 'include', 'archived loop': 'only' } as const
