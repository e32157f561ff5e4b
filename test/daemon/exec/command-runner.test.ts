import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { ExecExit } from '../../../daemon/engine/engine.ts'
import { CommandMarks } from '../../../daemon/exec/agent-session.ts'
import { CommandRunner, type StartedCommand } from '../../../daemon/exec/command-runner.ts'
import { deferred } from '../../../daemon/lib/deferred.ts'
import { ManualClock } from '../idle/manual-clock.ts'
import { until } from '../loop/kit.ts'

/** A command that ends at its first signal, and whose output nobody takes. */
function unread() {
  const [ended, exit] = [deferred<void>(), deferred<ExecExit>()]
  const signals: string[] = []
  const started: StartedCommand = {
    exec: {
      stdin: new PassThrough(),
      stdout: new PassThrough(),
      stderr: new PassThrough(),
      exit: exit.promise,
      ended: ended.promise,
      resize: async () => undefined,
      kill: async (signal) => {
        signals.push(signal)
        ended.resolve(undefined)
        return signals.length === 1
      },
      close: () => undefined,
    },
    session: () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
  return { started, signals, exit }
}

function runner(clock: ManualClock): CommandRunner {
  const container = { exec: () => Promise.reject(new Error('nothing is run here')) }
  return new CommandRunner({ engine: { container }, clock, marks: new CommandMarks() })
}

describe('the end of a command', () => {
  it('should not wait until a client takes its output, but for its last words', async () => {
    const clock = new ManualClock()
    const { started, signals } = unread()
    let isOver = false
    const ending = runner(clock)
      .endAll(started)
      .then(() => {
        isOver = true
      })
    await until(() => clock.sleeping === 2)
    clock.advance(99)
    await until(() => true)
    expect(isOver).toBe(false)
    clock.advance(1)
    await ending
    expect(signals).toEqual(['SIGTERM'])
  })

  it('should wait no longer than its exit takes', async () => {
    const { started, signals, exit } = unread()
    exit.resolve({ exitCode: 143 })
    await runner(new ManualClock()).endAll(started)
    expect(signals).toEqual(['SIGTERM'])
  })
})
