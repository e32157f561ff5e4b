import type { Bed } from './bed.ts'
import { inTurn, type RowPlan, type Side } from './contest.ts'
import { timeToOutput } from './process.ts'

const group = 'create to first output'
const unit = 'ms'
/** The name of every loop that is made here; each is gone before the next. */
const NAME = 'created'

async function removed<T>(bed: Bed, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } finally {
    await bed.client.loop.remove({ loop: NAME, force: true })
  }
}

/** `podman run`: as everybody types it, and with what a loop has. */
function podmanRun(bed: Bed): Side[] {
  const { image } = bed.workspace
  const likeLoop = ['--init', '--userns', 'keep-id:uid=2000,gid=2000']
  return bed.podmans.flatMap(({ label, command }) =>
    [[], likeLoop].map((options) => ({
      label: `podman run${options.length > 0 ? ' --init, keep-id' : ''} (${label})`,
      sample: (signal) =>
        timeToOutput(command('run', '--rm', '--network', 'bridge', ...options, image, 'echo', 'ready'), signal),
    })),
  )
}

/** From nothing to the first output of a command in a new container with a network of the bridge kind. */
export const create: readonly RowPlan[] = [
  {
    group,
    name: 'loopctl create, exec',
    unit,
    rounds: 5,
    prepare: async (bed) => {
      const script = `"$1" create --name ${NAME} >/dev/null && exec "$1" exec ${NAME} -- echo ready`
      const command = { program: 'sh', args: ['-c', script, 'sh', bed.workspace.program], env: bed.env }
      const sample = (signal: AbortSignal) => removed(bed, () => timeToOutput(command, signal))
      return inTurn([{ label: 'loopctl', sample }, ...podmanRun(bed)])
    },
  },
  {
    group,
    name: 'loop/create, exec/run',
    unit,
    rounds: 5,
    prepare: async (bed) => {
      const sample = (signal: AbortSignal) =>
        removed(bed, async () => {
          const begin = performance.now()
          await bed.client.loop.create({ name: NAME }, { signal })
          await using process = await bed.client.exec.spawn({ loop: NAME, command: ['echo', 'ready'] }, { signal })
          process.stderr.resume()
          for await (const _chunk of process.stdout) return performance.now() - begin
          throw new Error('echo printed nothing')
        })
      return inTurn([{ label: 'one connection', sample }, ...podmanRun(bed)])
    },
  },
]
