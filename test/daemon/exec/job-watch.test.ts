import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ContainerDetails, EngineError } from '../../../daemon/engine/engine.ts'
import type { JobRecord } from '../../../daemon/exec/job-record.ts'
import { JobStore } from '../../../daemon/exec/job-store.ts'
import { JobWatch } from '../../../daemon/exec/job-watch.ts'
import { LeaseRegister } from '../../../daemon/idle/lease.ts'
import { type Clock, systemClock } from '../../../daemon/lib/clock.ts'
import { deferred } from '../../../daemon/lib/deferred.ts'
import { type LogLine, memoryLog, never, until } from '../loop/kit.ts'
import { jobRecord, RUNNING, startLeader } from './job-kit.ts'

/** The first process of a job's session is a process of this host, and its directory is written by the test. */
describe('JobWatch', () => {
  let directory: string
  let room: string
  let leader: ChildProcess
  let record: JobRecord
  let container: ContainerDetails | undefined | EngineError
  let inspecting: () => Promise<void>
  let leases: LeaseRegister
  let ended: JobRecord[]
  let lines: LogLine[]
  let store: JobStore
  let watch: JobWatch

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-watch-'))
    room = join(directory, 'run', 'job', '0123abcd')
    await mkdir(room, { recursive: true })
    const started = await startLeader()
    leader = started.leader
    record = jobRecord({ process: started.process })
    container = RUNNING
    inspecting = () => Promise.resolve()
    leases = new LeaseRegister(systemClock)
    ended = []
    lines = []
    store = new JobStore(() => join(directory, 'jobs'))
    await store.prepare('loop')
    await store.write(record)
    watch = makeWatch()
  })

  afterEach(async () => {
    watch[Symbol.dispose]()
    leader.kill('SIGKILL')
    await rm(directory, { recursive: true, force: true })
    expect(lines.filter(({ level }) => level === 'error')).toEqual([])
  })

  function makeWatch(clock: Clock = systemClock): JobWatch {
    return new JobWatch({
      store,
      engine: {
        container: {
          inspect: async () => {
            await inspecting()
            if (container instanceof EngineError) throw container
            return container
          },
        },
      },
      leases,
      clock,
      log: memoryLog(lines),
      runOf: () => join(directory, 'run'),
      onEnd: (job) => ended.push(job),
    })
  }

  async function endLeader(): Promise<void> {
    leader.kill('SIGKILL')
    await once(leader, 'exit')
  }

  /** What a look says that began now: the first may have begun before. */
  async function lookAfresh(): Promise<JobRecord | undefined> {
    const first = await watch.look(record)
    return (await watch.look(record)) ?? first
  }

  it('should hold a lease while the job runs, and write down how it ended', async () => {
    watch.add(record)
    watch.add(record)
    expect(leases.list('loop')).toMatchObject([{ owner: 'job', reason: 'make' }])
    expect(await watch.look(record)).toEqual(record)
    await endLeader()
    await writeFile(join(room, 'exit.4'), '')
    await until(() => ended.length > 0)
    expect(ended).toMatchObject([{ state: 'exited', exitCode: 4 }])
    expect(await store.read('loop', record.id)).toEqual(ended[0])
    expect(leases.list()).toEqual([])
    expect(await watch.look(record)).toBe(undefined)
  })

  it('should hold none for a job that does not keep its loop awake', async () => {
    watch.add({ ...record, keepalive: false })
    expect(leases.list()).toEqual([])
    expect(await watch.look(record)).toMatchObject({ state: 'running' })
  })

  it('should tell all who wait', async () => {
    watch.add(record)
    const waiting = [watch.ended(record, never), watch.ended(record, never)]
    const cancelled = watch.ended(record, AbortSignal.timeout(50))
    await expect(cancelled).rejects.toThrow()
    await writeFile(join(room, 'exit.0'), '')
    expect(await Promise.all(waiting)).toMatchObject([{ exitCode: 0 }, { exitCode: 0 }])
    expect(ended).toHaveLength(1)
  })

  it('should tell who waits of an end that was seen between two of his looks', async () => {
    const pause = deferred<void>()
    let isPausing = false
    watch = makeWatch({
      ...systemClock,
      sleep: async (ms, signal) => {
        // The pause of who waits; all jobs together are looked at every second.
        if (ms >= 1000) return await systemClock.sleep(ms, signal)
        isPausing = true
        await pause.promise
      },
    })
    watch.add(record)
    const waiting = watch.ended(record, never)
    await until(() => isPausing)
    await writeFile(join(room, 'exit.7'), '')
    await until(async () => (await watch.look(record)) === undefined)
    pause.resolve()
    expect(await waiting).toMatchObject({ state: 'exited', exitCode: 7 })
    expect(ended).toHaveLength(1)
  })

  it('should not write down a job again that ended and was removed while it looked at others', async () => {
    const process = { pid: leader.pid ?? 0, startTicks: '1', bootId: record.process?.bootId ?? '' }
    const strangers = ['ffffffff', 'eeeeeeee'].map((id) => ({ ...record, id, process }))
    for (const job of [strangers[0], record, strangers[1]]) if (job !== undefined) watch.add(job)
    // Their processes are gone, and they have some time left to tell why.
    for (const job of strangers) expect(await watch.look(job)).toMatchObject({ state: 'running' })
    const [isAsked, answer] = [deferred<void>(), deferred<void>()]
    inspecting = async () => {
      isAsked.resolve()
      await answer.promise
    }
    await isAsked.promise
    await writeFile(join(room, 'exit.0'), '')
    await watch.look(record)
    await store.remove('loop', record.id)
    container = undefined
    answer.resolve()
    await until(() => leases.list().length === 0 && ended.some(({ id }) => id === 'eeeeeeee'))
    expect(ended.map(({ id }) => id)).toEqual([record.id, 'ffffffff', 'eeeeeeee'])
    expect(await store.read('loop', record.id)).toBe(undefined)
  })

  it('should not wait for a job that it does not watch', async () => {
    expect(await watch.ended(record, never)).toBe(undefined)
  })

  it('should find a job again that a watch before it left, and let go of it without ending it', async () => {
    watch.add(record)
    watch[Symbol.dispose]()
    expect(leases.list()).toEqual([])
    watch = makeWatch()
    watch.add(record)
    expect(await watch.look(record)).toMatchObject({ state: 'running' })
    expect(leader.exitCode).toBe(null)
  })

  it('should lose a job at once whose container was stopped', async () => {
    watch.add(record)
    await endLeader()
    container = { ...RUNNING, status: 'exited' }
    expect(await lookAfresh()).toMatchObject({ state: 'lost', reason: 'the loop was stopped' })
  })

  it('should not lose a job while podman does not say what became of its container', async () => {
    container = new EngineError('unavailable', 'no podman')
    watch.add(record)
    await endLeader()
    expect(await lookAfresh()).toMatchObject({ state: 'running' })
    container = undefined
    expect(await lookAfresh()).toMatchObject({ state: 'lost', reason: 'the loop was stopped' })
  })

  it('should not take another process of the same pid for the job', async () => {
    const process = { pid: leader.pid ?? 0, startTicks: '1', bootId: record.process?.bootId ?? '' }
    container = undefined
    watch.add({ ...record, process })
    expect(await lookAfresh()).toMatchObject({ state: 'lost' })
  })

  it('should end the job when the loop is about to stop', async () => {
    watch.add(record)
    // What TERM does inside.
    setTimeout(() => void writeFile(join(room, 'exit.143'), ''), 100)
    expect(await leases.endAll('loop', 5000)).toBe(true)
    await until(() => ended.length > 0)
    expect(ended).toMatchObject([{ state: 'exited', exitCode: 143, reason: 'the loop was stopped' }])
  })

  it('should forget a job whose loop is gone', async () => {
    watch.add(record)
    await rm(join(directory, 'jobs'), { recursive: true })
    await writeFile(join(room, 'exit.0'), '')
    expect(await lookAfresh()).toMatchObject({ state: 'exited' })
    expect(ended).toEqual([])
    expect(leases.list()).toEqual([])
  })
})
