import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '@loopatd/client'
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

/** How a client goes away. */
const WAYS = ['close', 'kill', 'stop'] as const

/** What vanishes, and how. */
export interface VanishOptions {
  readonly workspace: TestWorkspace
  /** A loop that runs. */
  readonly loop: string
  readonly random: Random
  /** How many clients, and how many of them at a time. */
  readonly count: number
  readonly parallel: number
  /** How long a client that is stopped stays so before it is killed, in milliseconds. */
  readonly stoppedMs: number
}

/** What became of them. */
export interface Vanished {
  /** What is left of them now, as the words of processes. */
  readonly leftovers: () => Promise<string[]>
  /** How many processes there were at a time, at least. */
  readonly seen: number
}

/**
 * Runs commands whose clients vanish: while they start, while they run, while nobody reads what they write.
 */
export async function vanish({
  workspace,
  loop,
  random,
  count,
  parallel,
  stoppedMs,
}: VanishOptions): Promise<Vanished> {
  const number = String(1e8 + random.below(9e8))
  const leftovers = () => processesAbout(number)
  let left = count
  let seen = 0
  const worker = async () => {
    for (; left > 0; ) {
      left -= 1
      const way = WAYS[left % WAYS.length] ?? 'close'
      const script = random.pick(SCRIPTS).replaceAll('N', number)
      const delayMs = random.pick([0, random.below(400), 400 + random.below(400)])
      if (way === 'close') await closeClient({ workspace, loop, script, delayMs })
      else await killClient({ workspace, loop, script, delayMs }, way === 'stop' ? stoppedMs : undefined)
    }
  }
  const workers = Promise.all(Array.from({ length: parallel }, worker))
  const isOver = workers.then(() => true)
  while (!(await Promise.race([isOver, sleep(300, false)]))) seen = Math.max(seen, (await leftovers()).length)
  return { leftovers, seen }
}

interface Vanishing {
  readonly workspace: TestWorkspace
  readonly loop: string
  readonly script: string
  /** From the start of the client until it goes away. */
  readonly delayMs: number
}

/** A client of a library, which closes its connection. */
async function closeClient({ workspace, loop, script, delayMs }: Vanishing): Promise<void> {
  const client = await connect({ socket: workspace.socket })
  const command = await client.exec.spawn({ loop, command: ['sh', '-c', script] })
  command.stdout.on('error', () => undefined).once('data', () => command.stdout.pause())
  command.stdin.on('error', () => undefined)
  await sleep(delayMs)
  await client.close()
}

/** loopctl, which is killed, at once or after having been stopped for a while. */
async function killClient(
  { workspace, loop, script, delayMs }: Vanishing,
  stoppedMs: number | undefined,
): Promise<void> {
  const child: ChildProcess = spawn(workspace.program, ['exec', loop, 'sh', '-c', script], {
    env: { ...workspace.env },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  child.stdin?.on('error', () => undefined)
  const gone = once(child, 'exit')
  await sleep(delayMs)
  if (stoppedMs !== undefined) {
    child.kill('SIGSTOP')
    await sleep(stoppedMs)
  }
  child.kill('SIGKILL')
  child.stdout?.destroy()
  await gone
}

/** Words of all processes of this host, those in loops included, of which one has the number in it. */
async function processesAbout(number: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const all = await Promise.all(pids.map(argumentsOf))
  return all.filter((words) => words.includes(number)).map((words) => words.replaceAll('\0', ' ').trim())
}
