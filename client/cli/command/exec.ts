import { Writable } from 'node:stream'
import { type Command, Option } from 'commander'
import { attach, type Outputs } from '../attach.ts'
import { readSize } from '../container-options.ts'
import type { Context } from '../context.ts'
import { readDuration, writeDuration } from '../duration.ts'
import { addExecOptions, type ExecOptions, execParams, wordsOf } from '../exec-options.ts'
import { UsageError } from '../exit.ts'
import { startJob } from '../job-start.ts'

/** Output of each kind that fits into JSON unless `--max-output` says otherwise, in bytes. */
const JSON_BYTES = 1_048_576

interface Options extends ExecOptions {
  readonly interactive?: boolean
  readonly stdin: boolean
  readonly shell?: string
  readonly timeout?: number
  readonly maxOutput?: number
  readonly json?: boolean
  readonly detach?: boolean
}

/** `loopctl exec` */
export function configure(command: Command, context: Context): void {
  command
    .usage('[options] <loop> [--] <command> [arguments...]')
    .argument('<loop>', 'loop to run it in; it is started when it is stopped')
    .argument('[command...]', 'program and its arguments; no shell is involved')
    .passThroughOptions()
    .addOption(new Option('-i, --interactive', 'connect stdin even when it is a terminal').conflicts('stdin'))
    .addOption(new Option('-n, --no-stdin', 'connect no stdin'))
    .option('--shell <text>', 'run this with /bin/sh in the loop, in place of a command')
    .option(
      '--timeout <time>',
      'end it, with all its children, after 500ms, 30s, 5m...; loopctl exits with 124',
      readDuration,
    )
    .option(
      '--max-output <size>',
      'of longer output, keep whole lines of its beginning and end (stdout and stderr each)',
      readSize,
    )
    .option('--json', 'print exit code, output and whatever else is known as JSON when it has ended')
    .addOption(
      new Option('-d, --detach', 'start a job and print its id, as `job start` does').conflicts([
        'interactive',
        'user',
        'timeout',
        'maxOutput',
      ]),
    )
  addExecOptions(command).action((loop: string, words: string[], options: Options) =>
    exec(loop, commandOf(words, options), { options, context }),
  )
}

/** The command; undefined with `--shell`. @throws UsageError */
function commandOf(words: readonly string[], { shell }: Options): readonly string[] | undefined {
  if (shell === undefined) return wordsOf(words, 'exec')
  if (shell === '') throw new UsageError('exec: the text for --shell is empty', 'Run: loopctl exec --help')
  if (words.length > 0) {
    throw new UsageError('exec: --shell and a command exclude each other', "Run: loopctl exec --shell 'TEXT' LOOP")
  }
  return undefined
}

async function exec(
  loop: string,
  command: readonly string[] | undefined,
  { options, context }: { options: Options; context: Context },
): Promise<void> {
  if (options.detach) {
    const words = command ?? ['/bin/sh', '-c', '--', options.shell ?? '']
    await startJob({ ...execParams(loop, { options, env: context.env }), command: [...words] }, options, context)
    return
  }
  const { shell, timeout, json = false } = options
  const maxOutput = options.maxOutput ?? (json ? JSON_BYTES : undefined)
  const params = {
    ...execParams(loop, { options, env: context.env }),
    ...(command === undefined ? {} : { command: [...command] }),
    ...(shell === undefined ? {} : { shell }),
    ...(timeout === undefined ? {} : { timeoutMs: timeout }),
    ...(maxOutput === undefined ? {} : { maxOutputBytes: maxOutput }),
  }
  const stdin = options.stdin && (options.interactive === true || context.stdin.isTTY !== true)
  const collected = json ? new Collected() : undefined
  const output = collected === undefined ? {} : { output: collected }
  const end = await context.withClient((client) => attach(client, { params, stdin, tty: false, ...output }, context))
  if (collected !== undefined) context.output.json({ ...end, ...collected.text() })
  else if (end.timedOut) {
    context.output.note(`loopctl: the command was ended: it took longer than ${writeDuration(timeout ?? 0)}`)
  }
}

/** Outputs that are kept, as text. The daemon keeps them small. */
class Collected implements Outputs {
  readonly stdout: Writable
  readonly stderr: Writable
  readonly #chunks: { readonly stdout: Buffer[]; readonly stderr: Buffer[] } = { stdout: [], stderr: [] }

  constructor() {
    this.stdout = keepIn(this.#chunks.stdout)
    this.stderr = keepIn(this.#chunks.stderr)
  }

  text(): { stdout: string; stderr: string } {
    const { stdout, stderr } = this.#chunks
    return { stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }
  }
}

function keepIn(chunks: Buffer[]): Writable {
  return new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      chunks.push(chunk)
      done()
    },
  })
}
