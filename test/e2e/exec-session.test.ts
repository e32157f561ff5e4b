import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { connect, type LoopatClient } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, makeWorkspace, processesWith, type TestWorkspace } from '../harness/workspace.ts'

describe('what a command has started in a session of its own', () => {
  let workspace: TestWorkspace
  let client: LoopatClient

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', '--name', 'sessions')
    client = await connect({ socket: workspace.socket })
  })
  afterAll(async () => {
    await client.close()
    await workspace[Symbol.asyncDispose]()
  })

  /** One of them has lost its parent, too, and one ignores TERM. */
  function escapees(): { readonly script: string; readonly count: () => Promise<number> } {
    const seconds = String(randomInt(1e6, 1e9))
    const lines = [
      `busybox setsid sleep ${seconds} &`,
      `(busybox setsid busybox setsid sleep ${seconds} &)`,
      `busybox setsid sh -c 'trap "" TERM; sleep ${seconds}' &`,
      `sleep ${seconds}`,
    ]
    return { script: lines.join('\n'), count: async () => (await processesWith(['sleep', seconds])).length }
  }

  type Way = (script: string, areRunning: () => Promise<void>) => Promise<unknown>

  const timeLimit: Way = async (script) => {
    const end = await client.exec.run({ loop: 'sessions', shell: script, timeoutMs: 1000 })
    expect(end).toMatchObject({ timedOut: true })
  }
  const cancellation: Way = async (script, areRunning) => {
    const cancel = new AbortController()
    const end = client.exec.run({ loop: 'sessions', shell: script }, { signal: cancel.signal })
    end.catch(() => undefined)
    await areRunning()
    cancel.abort()
    await expect(end).rejects.toMatchObject({ code: 'cancelled' })
  }
  const signal =
    (name: 'SIGINT' | 'SIGKILL'): Way =>
    async (script, areRunning) => {
      const child = workspace.spawn(['exec', '--shell', script, 'sessions'], { stdio: 'ignore' })
      await areRunning()
      child.kill(name)
      await once(child, 'exit')
    }

  it('should end with it: by its time limit, Ctrl-C, kill -9 of its client, and cancellation', async () => {
    const ways = [timeLimit, signal('SIGINT'), signal('SIGKILL'), cancellation]
    const one = async (way: Way) => {
      const { script, count } = escapees()
      await way(script, () => eventually('they run', async () => (await count()) === 4))
      await eventually('they end', async () => (await count()) === 0)
    }
    await Promise.all(ways.map(one))
  })

  it('should go on when the command has ended by itself', async () => {
    const { script, count } = escapees()
    const end = await client.exec.run({ loop: 'sessions', shell: `{ ${script} & } >/dev/null 2>&1; sleep 0.3` })
    expect(end).toMatchObject({ exitCode: 0, timedOut: false })
    await eventually('they run', async () => (await count()) === 4)
    await workspace.ok('stop', 'sessions')
    expect(await count()).toBe(0)
  })
})
