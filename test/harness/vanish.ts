import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { connect } from '@loopatd/client'
import { LOST_MS } from '@loopatd/protocol'
import type { Random } from './random.ts'
import { argumentsOf, type TestWorkspace } from './workspace.ts'

/** What runs in the loop; `N` is a number that nothing else on this host has among its arguments. */
const SCRIPTS = [
  'echo ready; sleep N & sleep N',
  'echo ready; trap "" TERM; sleep N & sleep N',
  'trap "echo; sleep 0.1" TERM; echo ready; sleep N & while :; do sleep 0.1; done',
  'echo ready; exec yes N',
  'echo ready; cat; exec sleep N',
  'echo ready; yes N | cat >/dev/null & wait',
  'exec >/dev/null 2>&1; sleep N & wait',
] as const

/** How a client goes away: it closes its connection, is killed, or is stopped for good. */
const WAYS = ['close', 'kill', 'stop'] as const
type Way = (typeof WAYS)[number]

/** How many stopped clients there are at a time that the daemon takes for living ones. Each has two connections. */
const MAX_STOPPED = 60

/** What vanishes, and how. */
export interface VanishOptions {
  readonly workspace: TestWorkspace
  /** A loop that runs. */
  readonly loop: string
  readonly random: Random
  /** How many clients, and how many of them at a time. */
  readonly count: number
  readonly parallel: number
  /** Which ways there are; default: all. */
  readonly ways?: readonly Way[]
}

/** What became of them. Its end kills clients that are stopped, which are not needed for anything to end. */
export interface Vanished extends Disposable {
  /** What is left of them now, as the words of processes. */
  readonly leftovers: () => Promise<string[]>
  /** How many different processes were seen meanwhile. */
  readonly seen: number
}

/**
 * Runs commands whose clients vanish: while they start, while they run, while nobody reads what they write. Returns when
 * the last that was stopped is to be missed.
 */
export async function vanish({
  workspace,
  loop,
  random,
  count,
  parallel,
  ways = WAYS,
}: VanishOptions): Promise<Vanished> {
  const number = String(1e8 + random.below(9e8))
  const stopped: ChildProcess[] = []
  const look = () => processesAbout(number, new Set(stopped.map(({ pid }) => `${pid}`)))
  const believed = new Set<Promise<unknown>>()
  let turns: Promise<unknown> = Promise.resolve()
  let left = count
  const seen = new Set<string>()
  const worker = async () => {
    for (; left > 0; ) {
      left -= 1
      const way = ways[left % ways.length] ?? 'close'
      const script = random.pick(SCRIPTS).replaceAll('N', number)
      const delayMs = random.pick([0, random.below(400), 400 + random.below(400)])
      const vanishing = { workspace, loop, script, delayMs, isSeen: random.below(2) === 0 }
      // Starting a program holds this one up, for long on a busy host: connections that wait get their turn in between.
      turns = turns.then(() => turn())
      await turns
      if (way === 'close') await closeClient(vanishing)
      else if (way === 'kill') await killClient(vanishing)
      else {
        if (believed.size >= MAX_STOPPED) await Promise.race(believed)
        stopped.push(await stopClient(vanishing))
        const missed = sleep(LOST_MS)
        believed.add(missed)
        void missed.then(() => believed.delete(missed))
      }
    }
  }
  const workers = Promise.all(Array.from({ length: parallel }, worker)).then(() => Promise.all(believed))
  const isOver = workers.then(() => true)
  while (!(await Promise.race([isOver, sleep(300, false)]))) for (const { pid } of await look()) seen.add(pid)
  return {
    leftovers: async () => (await look()).map(({ words }) => words),
    seen: seen.size,
    [Symbol.dispose]: () => {
      for (const child of stopped) child.kill('SIGKILL')
    },
  }
}

interface Vanishing {
  readonly workspace: TestWorkspace
  readonly loop: string
  readonly script: string
  /** Whether the command has written something before the client goes away: on a busy host few others would begin. */
  readonly isSeen: boolean
  /** From then, or from the start of the client, until it goes away. */
  readonly delayMs: number
}

/** How long to wait for output at most, in milliseconds: some commands write none. */
const READY_MS = 5000

/** Waits until the client is to go away. */
async function live({ isSeen, delayMs }: Vanishing, output: Readable | null): Promise<void> {
  const first = new Promise((resolve) => {
    if (isSeen) output?.once('data', () => resolve(output.pause()))
  })
  if (isSeen) await Promise.race([first, sleep(READY_MS)])
  await sleep(delayMs)
}

/** A client of a library, which closes its connection. */
async function closeClient(vanishing: Vanishing): Promise<void> {
  const { workspace, loop, script } = vanishing
  const client = await connect({ socket: workspace.socket })
  const command = await client.exec.spawn({ loop, command: ['sh', '-c', script] })
  command.stdout.on('error', () => undefined)
  command.stdin.on('error', () => undefined)
  await live(vanishing, command.stdout)
  await client.close()
}

/** loopctl, which is killed. */
async function killClient(vanishing: Vanishing): Promise<void> {
  const child = startClient(vanishing)
  const gone = once(child, 'exit')
  await live(vanishing, child.stdout)
  child.kill('SIGKILL')
  child.stdout?.destroy()
  await gone
}

/** loopctl, which is stopped. */
async function stopClient(vanishing: Vanishing): Promise<ChildProcess> {
  const child = startClient(vanishing)
  await live(vanishing, child.stdout)
  child.kill('SIGSTOP')
  return child
}

function startClient({ workspace, loop, script }: Vanishing): ChildProcess {
  const child = spawn(workspace.program, ['exec', loop, 'sh', '-c', script], {
    env: { ...workspace.env },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  child.stdin?.on('error', () => undefined)
  return child
}

interface Seen {
  readonly pid: string
  readonly words: string
}

/** All processes of this host but some, those in loops included, of which a word has the number in it. */
async function processesAbout(number: string, but: ReadonlySet<string>): Promise<Seen[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && !but.has(name))
  const all = await Promise.all(pids.map(async (pid) => ({ pid, words: await argumentsOf(pid) })))
  return all
    .filter(({ words }) => words.includes(number))
    .map(({ pid, words }) => ({ pid, words: words.replaceAll('\0', ' ').trim() }))
}
