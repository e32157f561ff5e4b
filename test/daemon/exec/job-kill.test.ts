import { describe, expect, it } from 'vitest'
import type { ExecSignal } from '../../../daemon/engine/engine.ts'
import { endJob } from '../../../daemon/exec/job-kill.ts'
import type { Clock } from '../../../daemon/lib/clock.ts'

/** A job that obeys the signals that it is told to obey, and the time in which it is ended. */
function mortal(obeys: { readonly command: ExecSignal; readonly children: ExecSignal }) {
  const sent: { signal: ExecSignal; ms: number }[] = []
  let ms = 0
  const clock: Clock = {
    now: () => new Date(ms),
    monotonicMs: () => ms,
    sleep: async (pause, signal) => {
      signal?.throwIfAborted()
      ms += pause
    },
  }
  const has = (signal: ExecSignal) => sent.some((one) => one.signal === signal)
  const job = {
    send: async (signal: ExecSignal) => sent.push({ signal, ms }) > 0,
    isOver: async () => has(obeys.command),
    hasRest: async () => !has(obeys.children),
  }
  return { job, clock, sent }
}

describe('ending a job', () => {
  it('should send TERM alone when that ends it', async () => {
    const { job, clock, sent } = mortal({ command: 'SIGTERM', children: 'SIGTERM' })
    await endJob(job, clock)
    expect(sent).toEqual([{ signal: 'SIGTERM', ms: 0 }])
  })

  it.each([
    ['the command', { command: 'SIGKILL', children: 'SIGTERM' }],
    ['a child', { command: 'SIGTERM', children: 'SIGKILL' }],
  ] as const)('should send KILL after two seconds when %s ignores TERM', async (_who, obeys) => {
    const { job, clock, sent } = mortal(obeys)
    await endJob(job, clock)
    expect(sent).toEqual([
      { signal: 'SIGTERM', ms: 0 },
      { signal: 'SIGKILL', ms: 2000 },
    ])
  })

  it('should stop waiting when it is cancelled', async () => {
    const { job, clock } = mortal({ command: 'SIGHUP', children: 'SIGHUP' })
    await expect(endJob(job, clock, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough')
  })
})
