import type { Duplex } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { getSystemErrorName } from 'node:util'
import { directoryOf } from './command-word.ts'
import type { HostProcess } from './host-process.ts'
import type { HostCommand } from './host-run.ts'
import type { PipeStock } from './pipe-stock.ts'
import { type PipedProcess, spawnPiped } from './piped-process.ts'

/** How many wait, and milliseconds after which one that was taken is replaced: nobody waits for that. */
const STOCK = { size: 4, refillMs: 10 } as const

const PERL = '/usr/bin/perl'

/**
 * Waits on descriptor 3 for a length and fields that each begin with theirs: the process that is to be its parent still,
 * the directory, the program, the number of words, the words, the environment. Then it becomes the program, which closes
 * the descriptor, or writes the number of the error there. It ends with whoever has the other end. The numbers for fcntl
 * are those of Linux, F_SETFD and FD_CLOEXEC.
 */
const PROGRAM = `
open my $orders, '+<&=', 3 or exit 127;
fcntl $orders, 2, 1 or exit 127;
my $order = '';
while (length $order < 4 || length $order < 4 + unpack 'N', $order) {
    sysread $orders, $order, 65536, length $order or exit 127;
}
my ($parent, $directory, $path, $count, @words) = unpack '(N/a*)*', substr $order, 4;
my @command = splice @words, 0, $count;
%ENV = ();
for (@words) {
    my ($name, $value) = split /=/, $_, 2;
    $ENV{$name} = $value;
}
exit 127 if getppid != $parent;
chdir $directory and exec { $path } @command;
syswrite $orders, $! + 0;
exit 127;
`

/** A process that was started ahead and waits to become a command. */
export class Starter {
  readonly #process: PipedProcess
  readonly #orders: Duplex

  private constructor(process: PipedProcess, orders: Duplex) {
    this.#process = process
    this.#orders = orders
    // Whoever is gone is noticed when it ends.
    orders.on('error', () => undefined)
  }

  /** @throws the system's error, above all when this host has no perl */
  static async make(pipes: PipeStock): Promise<Starter> {
    const program = { file: PERL, args: ['-e', PROGRAM], argv0: 'loopat-host', cwd: '/', env: { LC_ALL: 'C' } }
    const process = await spawnPiped(program, pipes, { hasChannel: true })
    if (process.channel === undefined) throw new Error('a process was started without its channel')
    return new Starter(process, process.channel)
  }

  /** Resolves when it is gone. */
  get exited(): Promise<unknown> {
    return this.#process.exited
  }

  /**
   * Becomes a command.
   * @param cwd path that leads to the directory until this resolves
   * @throws the system's error
   */
  async become(command: HostCommand, cwd: string): Promise<HostProcess> {
    const { path } = command
    const words = command.argv.length === 0 ? [path] : command.argv
    const env = Object.entries({ ...command.env, PWD: directoryOf(command) })
    const fields = [
      ...[String(process.pid), cwd, path, String(words.length)],
      ...words,
      ...env.map(([name, value]) => `${name}=${value}`),
    ]
    this.#orders.write(framed(Buffer.concat(fields.map((field) => framed(field)))))
    const said = await buffer(this.#orders).catch(() => Buffer.alloc(0))
    if (said.length === 0) return this.#process
    for (const stream of [this.#process.stdin, this.#process.stdout, this.#process.stderr]) stream?.destroy()
    throw systemError(Number(said.toString()), path)
  }
}

/** Processes that wait to become commands: to start one takes Node.js longer than many commands run. */
export class StarterStock {
  readonly #pipes: PipeStock
  readonly #ready = new Set<Starter>()
  #filling: Promise<void> | undefined
  #isPossible = true

  constructor(pipes: PipeStock) {
    this.#pipes = pipes
  }

  /** Makes them, one after the other. Where that is not possible, there are none. Never rejects. */
  async fill(): Promise<void> {
    this.#filling ??= this.#fill().finally(() => {
      this.#filling = undefined
    })
    await this.#filling
  }

  /** One of them; undefined when none is left. */
  take(): Starter | undefined {
    const [starter] = this.#ready
    if (starter !== undefined) this.#ready.delete(starter)
    void this.fill()
    return starter
  }

  async #fill(): Promise<void> {
    while (this.#isPossible && this.#ready.size < STOCK.size) {
      await sleep(STOCK.refillMs, undefined, { ref: false })
      try {
        const made = await Starter.make(this.#pipes)
        this.#ready.add(made)
        void made.exited.then(() => this.#ready.delete(made))
      } catch {
        this.#isPossible = false
      }
    }
  }
}

/** Bytes behind their length. */
function framed(content: Buffer | string): Buffer {
  const bytes = Buffer.from(content)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

function systemError(errno: number, path: string): Error {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`${code}, spawn ${path}`), { errno: -errno, code, syscall: `spawn ${path}`, path })
}
