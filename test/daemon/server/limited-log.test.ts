import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { LimitedLog } from '../../../daemon/server/limited-log.ts'
import { type LogEntry, memoryLog } from '../../harness/peer-server.ts'

describe('LimitedLog', () => {
  let written: LogEntry[]
  let log: LimitedLog

  beforeEach(() => {
    vi.useFakeTimers()
    written = []
    log = new LimitedLog(memoryLog(written))
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const times = (count: number, act: () => void) => {
    for (let done = 0; done < count; done += 1) act()
  }

  it('should write what comes in moderation, with the fields of the child', () => {
    log.child({ session: 's' }).child({ method: 'm' }).warn({ a: 1 }, 'text')
    expect(written).toEqual([{ level: 'warn', fields: { session: 's', method: 'm', a: 1 }, message: 'text' }])
  })

  it('should count what is too much, over all children, and say so when the period is over', () => {
    times(300, () => log.child({ session: 's' }).warn({}, 'text'))
    expect(written).toHaveLength(100)
    vi.advanceTimersByTime(10_000)
    expect(written).toHaveLength(101)
    expect(written.at(-1)).toMatchObject({ level: 'warn', fields: { lines: 200 } })
    log.warn({}, 'again')
    expect(written.at(-1)).toMatchObject({ message: 'again' })
  })

  it('should not let lines of one level push out those of another', () => {
    times(300, () => log.debug({}, 'text'))
    log.warn({}, 'seen')
    expect(written.at(-1)).toMatchObject({ level: 'warn', message: 'seen' })
  })

  it('should write every error', () => {
    times(300, () => log.error({}, 'text'))
    expect(written).toHaveLength(300)
  })

  it('should tell what was left out when it is flushed, and nothing when nothing was', () => {
    log.flush()
    expect(written).toEqual([])
    times(101, () => log.info({}, 'text'))
    log.flush()
    expect(written.at(-1)).toMatchObject({ level: 'info', fields: { lines: 1 } })
  })
})
