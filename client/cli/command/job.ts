import type { JobSignal, JobStream } from '@loopatd/protocol'
import { EXIT } from '@loopatd/protocol/error'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Context } from '../context.ts'
import { addCommandOptions, type CommandOptions, execParams, wordsOf } from '../exec-options.ts'
import { UsageError } from '../exit.ts'
import { printLog } from '../job-log.ts'
import { startJob } from '../job-start.ts'
import { describeJob, jobTable } from '../job-table.ts'
import { withSteadyDaemon } from '../steady.ts'

/** Signals by the names that people use. */
const SIGNALS = ['HUP', 'INT', 'QUIT', 'TERM', 'KILL', 'USR1', 'USR2'] as const

interface StartOptions extends CommandOptions {
  readonly keepalive: boolean
  readonly maxLog?: number
  readonly json?: boolean
}

interface LogOptions {
  readonly follow?: boolean
  readonly stream?: JobStream
  readonly offset?: number
  readonly tail?: number
}

/** `loopctl job` */
export function configure(command: Command, context: Context): void {
  command.enablePositionalOptions()
  configureStart(command, context)
  command
    .command('ls')
    .description('list the jobs of a loop, newest first')
    .argument('<loop>', 'loop whose jobs to list')
    .option('--json', 'an array of jobs')
    .action((loop: string, options: { json?: boolean }) => list(loop, options, context))
  configureLogs(command, context)
  jobArgument(command.command('wait').description('wait until a job has ended, and exit as it did'))
    .option('--json', 'the job as one object')
    .action((loop: string, job: string, options: { json?: boolean }) => wait({ loop, job }, options, context))
  jobArgument(command.command('kill').description('end a job: TERM, and KILL two seconds later'))
    .addOption(new Option('-s, --signal <signal>', 'send this alone').choices(SIGNALS))
    .action((loop: string, job: string, options: { signal?: (typeof SIGNALS)[number] }) =>
      kill({ loop, job }, options, context),
    )
  jobArgument(command.command('rm').description('forget a job and remove its logs'))
    .option('-f, --force', 'end it when it runs')
    .action((loop: string, job: string, options: { force?: boolean }) => remove({ loop, job }, options, context))
}

function jobArgument(command: Command): Command {
  return command.argument('<loop>', 'loop it belongs to').argument('<job>', 'its id')
}

function configureStart(command: Command, context: Context): void {
  const start = command
    .command('start')
    .description('start a command and leave it running; prints the id of the job')
    .usage('[options] <loop> [--] <command> [arguments...]')
    .argument('<loop>', 'loop to run it in; it is started when it is stopped')
    .argument('<command...>', 'program and its arguments; no shell is involved')
    .passThroughOptions()
  addCommandOptions(start)
    .option('--no-keepalive', 'do not keep the loop awake while it runs')
    .option('--max-log <bytes>', 'output to keep per stream; the oldest goes first (default: 16777216)', wholeNumber)
    .option('--json', 'the job as one object')
    .action((loop: string, words: string[], options: StartOptions) => {
      const { keepalive, maxLog } = options
      const command = [...wordsOf(words, 'job start')]
      const params = { ...execParams(loop, { options, env: context.env }), command }
      const limits = { keepalive, ...(maxLog === undefined ? {} : { maxLogBytes: maxLog }) }
      return startJob({ ...params, ...limits }, options, context)
    })
}

function configureLogs(command: Command, context: Context): void {
  jobArgument(command.command('logs').description('print what a job wrote: its stdout to stdout, its stderr to stderr'))
    .option('-f, --follow', 'go on until it has ended')
    .addOption(new Option('--stream <stream>', 'only this one').choices(['stdout', 'stderr']))
    .option('--offset <bytes>', 'begin at this byte of the stream; needs --stream', wholeNumber)
    .addOption(
      new Option('--tail <bytes>', 'begin so many bytes before the end').argParser(wholeNumber).conflicts('offset'),
    )
    .action((loop: string, job: string, options: LogOptions) => logs({ loop, job }, options, context))
}

function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be a number of bytes.')
  return Number(text)
}

async function list(loop: string, { json }: { json?: boolean }, context: Context): Promise<void> {
  const { jobs } = await context.withClient((client) => client.job.list({ loop }, { signal: context.signal }))
  if (json) context.output.json(jobs)
  else if (jobs.length > 0) context.output.text(await jobTable(jobs, context))
  else context.output.note(`No jobs. Start one with: loopctl job start ${loop} COMMAND`)
}

/** A job as it is named on the command line. */
interface Named {
  readonly loop: string
  readonly job: string
}

async function logs(named: Named, options: LogOptions, context: Context): Promise<void> {
  const { follow = false, stream, offset, tail } = options
  if (offset !== undefined && stream === undefined) {
    throw new UsageError('job logs: --offset counts bytes of one stream', 'Name it: --stream stdout')
  }
  const from = { ...(offset === undefined ? {} : { offset }), ...(tail === undefined ? {} : { tailBytes: tail }) }
  const streams = stream === undefined ? (['stdout', 'stderr'] as const) : [stream]
  await withSteadyDaemon(context, async (ask) => {
    await Promise.all(streams.map((one) => printLog(ask, { ...named, ...from, stream: one, follow }, context)))
  })
}

async function wait(named: Named, { json }: { json?: boolean }, context: Context): Promise<void> {
  const { job } = await withSteadyDaemon(context, (ask) =>
    ask((client) => client.job.wait(named, { signal: context.signal })),
  )
  if (json) context.output.json(job)
  else if (job.state === 'lost') context.output.note(`job ${job.id}: ${describeJob(job)}`)
  context.exitCode = job.exitCode ?? EXIT.lost.code
}

async function kill(named: Named, { signal }: { signal?: (typeof SIGNALS)[number] }, context: Context): Promise<void> {
  const wanted = signal === undefined ? {} : { signal: `SIG${signal}` satisfies JobSignal }
  await context.withClient((client) => client.job.kill({ ...named, ...wanted }, { signal: context.signal }))
  context.output.line(named.job)
}

async function remove(named: Named, { force = false }: { force?: boolean }, context: Context): Promise<void> {
  await context.withClient((client) => client.job.remove({ ...named, force }, { signal: context.signal }))
  context.output.line(named.job)
}
