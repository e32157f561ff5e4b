import { join } from 'node:path'
import { connect } from '@loopatd/client'
import { makeWorkspace } from '../harness/workspace.ts'
import type { Bed } from './bed.ts'
import { inTurn, type RowPlan, timedEach } from './contest.ts'
import { type CountProxy, startCountProxy } from './count-proxy.ts'

const group = 'round trip'
const unit = 'ms'
/** Requests in one sample: one alone is too short to be timed well. */
const TIMES = 20

const ping = (bed: Bed) => ({ label: 'API ping', sample: () => timedEach(TIMES, () => bed.api.ping()) })

const questions: RowPlan[] = [10, 100].flatMap((known): RowPlan[] => [
  {
    group,
    name: `daemon/status, ${known} known`,
    unit,
    rounds: 20,
    known,
    prepare: async (bed) =>
      inTurn([
        { label: 'one connection', sample: () => timedEach(TIMES, () => bed.client.daemon.status()) },
        ping(bed),
      ]),
  },
  {
    group,
    name: `loop/list, ${known} known`,
    unit,
    rounds: 20,
    known,
    prepare: async (bed) =>
      inTurn([{ label: 'one connection', sample: () => timedEach(TIMES, () => bed.client.loop.list({})) }, ping(bed)]),
  },
])

const start: RowPlan = {
  group,
  name: 'loop/start, running',
  unit,
  rounds: 20,
  prepare: async (bed) => {
    const { id, container } = bed.loop
    const begin = () => bed.client.loop.start({ loop: id })
    const calls = await callsOfStart(bed)
    if (calls.length > 0) throw new Error(`starting a running loop asked podman: ${calls.join(', ')}`)
    return inTurn(
      [
        { label: 'one connection', sample: () => timedEach(TIMES, begin) },
        { label: 'API inspect', sample: () => timedEach(TIMES, () => bed.api.inspect(container)) },
      ],
      { note: `${COUNTED} starts, 0 calls to podman` },
    )
  },
}

/** Starts whose calls are counted. */
const COUNTED = 50

/** What a second daemon asks podman while it starts a running loop, {@link COUNTED} times. Pings are not counted. */
async function callsOfStart(bed: Bed): Promise<string[]> {
  await using workspace = await makeWorkspace()
  const path = join(workspace.directory, 'count.sock')
  await using proxy = await startCountProxy(path, bed.podmanSocket)
  const env = { LOOPAT_PODMAN_SOCKET: path }
  const started = await workspace.loopctl(['daemon', 'start'], { env })
  if (started.code !== 0) throw new Error(`the daemon does not start: ${started.stderr}`)
  try {
    await using client = await connect({ socket: workspace.socket })
    await client.loop.create({ name: 'counted' })
    try {
      return await callsMeanwhile(proxy, async () => {
        for (let count = 0; count < COUNTED; count += 1) await client.loop.start({ loop: 'counted' })
      })
    } finally {
      await client.loop.remove({ loop: 'counted', force: true })
    }
  } finally {
    // Before the proxy goes, so that the daemon does not start a podman of its own in its place.
    await workspace.ok('daemon', 'stop')
  }
}

async function callsMeanwhile(proxy: CountProxy, action: () => Promise<void>): Promise<string[]> {
  // The events of the loop's own start are still being looked into.
  await quiet(proxy)
  const before = proxy.requests.length
  await action()
  return proxy.requests.slice(before)
}

/** Waits until nothing was asked for a second. */
async function quiet({ requests }: CountProxy): Promise<void> {
  for (let before = -1; before !== requests.length; ) {
    before = requests.length
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
}

/** How long one request takes, on one connection. */
export const roundTrip: readonly RowPlan[] = [...questions, start]
