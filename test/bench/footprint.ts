import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { residentBytes } from '../harness/workspace.ts'
import type { Bed } from './bed.ts'
import { type Contest, inTurn, type RowPlan } from './contest.ts'
import { cpuMs, end } from './process.ts'

const group = 'daemon'
/** For how long idle processes are watched, in milliseconds. */
const IDLE_MS = 3000
/** How many loops are known, and run. */
const SCENES = [
  { known: 10, running: 0 },
  { known: 100, running: 10 },
  { known: 1000, running: 30 },
] as const
/** Requests in one sample of processor time, which is counted in hundredths of a second. */
const REQUESTS = 400

/** Those that are watched: the daemon, podman's service, and a runtime that waits for nothing. */
async function watched(bed: Bed) {
  const idle = spawn(bed.runtime, ['-e', 'setInterval(() => undefined, 1e9)'], { stdio: 'ignore' })
  await once(idle, 'spawn')
  await sleep(500)
  const { pid: daemon } = await bed.client.daemon.status()
  const processes = [
    { label: 'loopatd', pid: daemon },
    { label: 'podman system service', pid: await bed.servicePid() },
    { label: 'node, idle', pid: idle.pid ?? 0 },
  ]
  return { processes, end: () => end(idle) }
}

/** Has so many loops run while something is measured. */
async function whileRunning(bed: Bed, count: number, prepare: (bed: Bed) => Promise<Contest>): Promise<Contest> {
  const restore = await bed.run(count)
  const contest = await prepare(bed)
  const end = async () => {
    await contest.end?.()
    await restore()
  }
  return { ...contest, end }
}

/** Memory that is resident. */
async function memory(bed: Bed): Promise<Contest> {
  const { processes, end } = await watched(bed)
  const round = () => Promise.all(processes.map(async ({ pid }) => (await residentBytes(pid)) / 2 ** 20))
  return { labels: processes.map(({ label }) => label), round, end }
}

/** Share of one processor that is used while nobody asks for anything, all processes over the same time. */
async function idleCpu(bed: Bed): Promise<Contest> {
  const { processes, end } = await watched(bed)
  const used = () => Promise.all(processes.map(({ pid }) => cpuMs(pid)))
  const round = async (signal: AbortSignal) => {
    const [before, begin] = [await used(), performance.now()]
    await sleep(IDLE_MS, undefined, { signal })
    const [after, ms] = [await used(), performance.now() - begin]
    return after.map((value, index) => (100 * (value - (before[index] ?? 0))) / ms)
  }
  return { labels: processes.map(({ label }) => label), round, end }
}

/** Processor time of one request, on the side that answers it. */
async function requestCpu(bed: Bed): Promise<Contest> {
  const { pid } = await bed.client.daemon.status()
  const service = await bed.servicePid()
  const cost = async (answering: number, ask: () => Promise<unknown>) => {
    const before = await cpuMs(answering)
    for (let count = 0; count < REQUESTS; count += 1) await ask()
    return ((await cpuMs(answering)) - before) / REQUESTS
  }
  return inTurn([
    { label: 'loopatd', sample: () => cost(pid, () => bed.client.loop.list({})) },
    { label: 'podman, API list of 1', sample: () => cost(service, () => bed.api.list()) },
    { label: 'podman, API ping', sample: () => cost(service, () => bed.api.ping()) },
  ])
}

/** What the daemon costs the machine. */
export const footprint: readonly RowPlan[] = SCENES.flatMap(({ known, running }): RowPlan[] => {
  const scene = `${known} known, ${running} running`
  const within = (prepare: (bed: Bed) => Promise<Contest>) => (bed: Bed) => whileRunning(bed, running, prepare)
  return [
    { group, name: `memory, ${scene}`, unit: 'MiB', rounds: 3, known, prepare: within(memory) },
    { group, name: `idle CPU, ${scene}`, unit: '% cpu', rounds: 2, known, prepare: within(idleCpu) },
    { group, name: `CPU of loop/list, ${known} known`, unit: 'ms', rounds: 3, known, prepare: requestCpu },
  ]
})
