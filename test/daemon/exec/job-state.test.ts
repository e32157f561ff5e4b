import { describe, expect, it } from 'vitest'
import type { JobSight } from '../../../daemon/exec/job-room.ts'
import { EXIT_GRACE_MS, isDrained, isRunOver, type JobFacts, judge } from '../../../daemon/exec/job-state.ts'
import { jobRecord, RUNNING } from './job-kit.ts'

const now = new Date('2026-01-02T00:00:00.000Z')
const at = new Date('2026-01-01T12:00:00.000Z')
const room: JobSight = { session: 7, exit: undefined, isComplete: false, strange: undefined }
const facts = (changes: Partial<JobFacts>): JobFacts => ({ sight: room, liveness: 'alive', goneMs: 0, now, ...changes })

describe('what became of a job', () => {
  it('should be what its record of the end says, whatever else is known', () => {
    const sight = { ...room, exit: { code: 3, at } }
    for (const liveness of ['alive', 'gone', 'stopped', 'unknown'] as const) {
      const judged = judge(jobRecord(), facts({ sight, liveness }))
      expect(judged).toEqual(jobRecord({ state: 'exited', exitCode: 3, endedAt: at.toISOString() }))
    }
  })

  it('should be nothing while it lives, or nobody knows', () => {
    const record = jobRecord()
    expect(judge(record, facts({}))).toBe(record)
    expect(judge(record, facts({ liveness: 'unknown', goneMs: 1e9 }))).toBe(record)
    expect(judge(record, facts({ sight: undefined }))).toBe(record)
  })

  it('should be that it runs, when one that a daemon did not see begin is found alive', () => {
    expect(judge(jobRecord({ state: 'starting' }), facts({})).state).toBe('running')
  })

  it('should wait for the record of the end before it is lost', () => {
    const gone = { liveness: 'gone', goneMs: EXIT_GRACE_MS - 1 } as const
    expect(judge(jobRecord(), facts(gone)).state).toBe('running')
    expect(judge(jobRecord(), facts({ ...gone, goneMs: EXIT_GRACE_MS }))).toMatchObject({
      state: 'lost',
      endedAt: now.toISOString(),
      reason: 'its processes were ended, and what watched over it as well',
    })
  })

  it.each([
    ['the loop was stopped', jobRecord(), { liveness: 'stopped' }],
    ['the daemon ended while it was started', jobRecord({ state: 'starting' }), {}],
    ['its directory in /loopat/run is gone', jobRecord(), { sight: undefined }],
    [
      'the record of its end is nonsense',
      jobRecord(),
      { sight: { ...room, strange: 'the record of its end is nonsense' } },
    ],
    ['it was killed by a client', jobRecord({ reason: 'it was killed by a client' }), {}],
  ] as const)('should say why it was lost: %s', (reason, record, changes) => {
    expect(judge(record, facts({ liveness: 'gone', goneMs: 1e9, ...changes }))).toMatchObject({ state: 'lost', reason })
  })
})

describe('the run of a container', () => {
  it('should go on while the same container runs since the same time', () => {
    expect(isRunOver(jobRecord(), RUNNING)).toBe(false)
    expect(isRunOver(jobRecord(), { ...RUNNING, status: 'stopping' })).toBe(false)
    expect(isRunOver(jobRecord({ container: { name: 'c' } }), RUNNING)).toBe(false)
  })

  it.each([
    ['gone', undefined],
    ['stopped', { ...RUNNING, status: 'exited' }],
    ['started again', { ...RUNNING, startedAt: '2026-01-01T00:00:00Z' }],
    ['made anew', { ...RUNNING, id: 'other' }],
  ] as const)('should be over when it is %s', (_how, later) => {
    expect(isRunOver(jobRecord(), later)).toBe(true)
  })
})

describe('a log', () => {
  const ended = jobRecord({ state: 'exited', exitCode: 0, endedAt: at.toISOString() })

  it('should be complete when its job says so, is lost, or ended a while ago', () => {
    expect(isDrained(ended, { ...room, isComplete: true }, at)).toBe(true)
    expect(isDrained({ ...ended, state: 'lost' }, room, at)).toBe(true)
    expect(isDrained(ended, room, new Date(at.getTime() + 2001))).toBe(true)
  })

  it('should not be complete while its job runs, or has just ended', () => {
    expect(isDrained(jobRecord(), { ...room, isComplete: true }, at)).toBe(false)
    expect(isDrained(ended, room, new Date(at.getTime() + 100))).toBe(false)
  })
})
