import { cpus, loadavg, release } from 'node:os'
import { VERSION } from '@loopatd/protocol/version'
import { Bed, settle } from './bed.ts'
import { bulk } from './bulk.ts'
import { measure, type RowPlan, type Scale } from './contest.ts'
import { create } from './create.ts'
import { exec } from './exec.ts'
import type { Row } from './figure.ts'
import { footprint } from './footprint.ts'
import { host } from './host.ts'
import { follow } from './process.ts'
import { roundTrip } from './round-trip.ts'
import { sleep } from './sleep.ts'
import { startUp } from './start-up.ts'

/** Everything there is, in the order of the table. */
const PLANS: readonly RowPlan[] = [
  ...startUp,
  ...roundTrip,
  ...create,
  ...exec,
  ...bulk,
  ...host,
  ...sleep,
  ...footprint,
]

/** What `npm run bench` found: what `--json` writes. */
export interface Report {
  readonly host: {
    readonly loopatd: string
    readonly podman: string
    /** Ways in which podman's command line was used: `remote` through the daemon's own service, `local` on its own. */
    readonly podmanCommands: readonly string[]
    /** Version of the runtime of loopctl. */
    readonly node: string
    readonly cpus: number
    readonly kernel: string
    /** Load averages over 1, 5 and 15 minutes. */
    readonly loadBefore: readonly number[]
    readonly loadAfter: readonly number[]
  }
  readonly quick: boolean
  readonly rows: readonly Row[]
  /** Rows that could not be measured, and why. */
  readonly failed: readonly string[]
}

/** What to do. */
export interface BenchOptions extends Scale {
  /** Only rows whose `group: name` matches. */
  readonly only?: RegExp | undefined
  /** Tells what happens, one line each. */
  readonly progress: (line: string) => void
}

/** Measures everything that is asked for in a workspace of its own. @throws Error when nothing is, or there is no loop */
export async function bench(options: BenchOptions, signal: AbortSignal): Promise<Report> {
  const { only = /(?:)/, progress, quick } = options
  const wanted = PLANS.filter(({ group, name }) => only.test(`${group}: ${name}`))
  if (wanted.length === 0) throw new Error(`no row matches ${only}`)
  const loadBefore = loadavg()
  const begin = performance.now()
  const tell = (line: string) => progress(`${((performance.now() - begin) / 1000).toFixed(0).padStart(3)} s  ${line}`)
  tell('starting a daemon and one loop')
  await using bed = await Bed.make()
  const found = new Map<RowPlan, Row>()
  const failed: string[] = []
  // The number of known loops only grows.
  for (const plan of [...wanted].sort((a, b) => (a.known ?? 1) - (b.known ?? 1))) {
    tell(`${found.size + failed.length + 1}/${wanted.length} ${plan.group}: ${plan.name}`)
    await settle()
    try {
      found.set(plan, await measure(plan, bed, { quick }, signal))
    } catch (error) {
      if (signal.aborted || !(error instanceof Error)) throw error
      failed.push(`${plan.group}: ${plan.name}: ${error.message}`)
      tell(`failed: ${error.message}`)
    }
  }
  tell('removing the loops')
  const host = { ...(await hostOf(bed, signal)), loadBefore, loadAfter: loadavg() }
  return { host, quick, rows: wanted.flatMap((plan) => found.get(plan) ?? []), failed }
}

async function hostOf(bed: Bed, signal: AbortSignal) {
  const { stdout } = await follow({ program: bed.runtime, args: ['--version'] }, signal)
  const { engine } = await bed.client.daemon.status()
  return {
    loopatd: VERSION,
    podman: engine.version ?? 'unknown',
    podmanCommands: bed.podmans.map(({ label }) => label),
    node: stdout.trim().replace(/^v/, ''),
    cpus: cpus().length,
    kernel: release(),
  }
}
