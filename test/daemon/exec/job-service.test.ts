import type { ChildProcess } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { jobLogs, jobStart } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { EngineExec } from '../../../daemon/engine/engine.ts'
import { CommandMarks } from '../../../daemon/exec/agent-session.ts'
import { CommandRunner } from '../../../daemon/exec/command-runner.ts'
import type { JobRecord } from '../../../daemon/exec/job-record.ts'
import { JobService } from '../../../daemon/exec/job-service.ts'
import { JobStore } from '../../../daemon/exec/job-store.ts'
import { LeaseRegister } from '../../../daemon/idle/lease.ts'
import { type Clock, systemClock } from '../../../daemon/lib/clock.ts'
import { deferred } from '../../../daemon/lib/deferred.ts'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { type LogLine, memoryLog, never, until } from '../loop/kit.ts'
import { jobRecord, RUNNING, startLeader } from './job-kit.ts'

/** The first process of a job's session is a process of this host, and its directory is written by the test. */
describe('JobService', () => {
  let directory: string
  let leader: ChildProcess
  let record: JobRecord
  let leases: LeaseRegister
  let lines: LogLine[]
  let store: JobStore
  let service: JobService
  let changes: string[]
  /** What is done before the engine answers. */
  let inspecting: (container: string) => Promise<void>
  let sleep: Clock['sleep']
  /** What the job's program says. */
  let launch: (id: string) => Promise<string>
  /** What is done when that was read. */
  let launched: () => void
  let recordsOf: () => string

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-jobs-'))
    const started = await startLeader()
    leader = started.leader
    record = jobRecord({ process: started.process })
    leases = new LeaseRegister(systemClock)
    lines = []
    changes = []
    inspecting = () => Promise.resolve()
    sleep = systemClock.sleep
    launch = async (id) => {
      await mkdir(room(id), { recursive: true })
      return 'began 7\n'
    }
    launched = () => undefined
    recordsOf = () => join(directory, 'jobs')
    store = new JobStore(() => join(directory, 'jobs'))
    await store.prepare('loop')
    service = makeService()
  })

  afterEach(async () => {
    service[Symbol.dispose]()
    leader.kill('SIGKILL')
    await rm(directory, { recursive: true, force: true })
    expect(lines.filter(({ level }) => level === 'error')).toEqual([])
  })

  const room = (id: string) => join(directory, 'run', 'job', id)

  function makeService(): JobService {
    const clock: Clock = { ...systemClock, sleep: (ms, signal) => sleep(ms, signal) }
    const inspect = async (container: string) => {
      await inspecting(container)
      return RUNNING
    }
    const place = { container: 'c', containerPid: () => 0, workdir: '/', control: directory }
    const loops = {
      resolve: async () => 'loop',
      use: async () => ({ loopId: 'loop', ...place, env: {}, secrets: {}, release: () => undefined }),
    }
    return new JobService({
      loops,
      loopIds: async () => ['loop'],
      recordsOf: () => recordsOf(),
      runOf: () => join(directory, 'run'),
      runner: new CommandRunner({ engine: { container: { exec } }, clock, marks: new CommandMarks() }),
      program: join(import.meta.dirname, '../../../templates/job'),
      engine: { container: { inspect } },
      leases,
      clock,
      log: memoryLog(lines),
      onChange: ({ job, removed }) => changes.push(removed ? 'removed' : job.state),
    })
  }

  async function exec(_container: string, { command }: { command: readonly string[] }): Promise<EngineExec> {
    const words = await launch(command[4] ?? '')
    return {
      stdin: new Writable(),
      stdout: Readable.from([Buffer.from(words)]),
      stderr: Readable.from([]),
      exit: Promise.resolve({ exitCode: 0 }),
      resize: async () => undefined,
      kill: async () => false,
      close: () => launched(),
    }
  }

  /** Jobs that a daemon before this one has left. */
  async function adopt(...records: readonly JobRecord[]): Promise<void> {
    for (const job of records) {
      await store.write(job)
      await mkdir(room(job.id), { recursive: true })
    }
    service.open()
    await service.adopted
  }

  /** What the job's program leaves. */
  async function end(id: string, code: number): Promise<void> {
    await writeFile(join(room(id), 'complete'), '')
    await writeFile(join(room(id), `exit.${code}`), '')
  }

  const start = (signal = never) =>
    service.start(jobStart.params.parse({ loop: 'x', command: ['make'] }), noProgress, signal)
  const remove = (job = record.id) => service.remove({ loop: 'x', job, force: true }, never)

  describe('when a job is removed meanwhile', () => {
    const missing = { code: 'job_not_found' }

    /** Nothing watches it, and nothing is written. */
    async function expectGone(): Promise<void> {
      expect(leases.list()).toEqual([])
      expect(await store.list('loop')).toEqual([])
    }

    it.each(['kill', 'remove'] as const)('should %s without bringing it back', async (method) => {
      await adopt(record)
      const [isAsked, answer] = [deferred<void>(), deferred<void>()]
      inspecting = async () => {
        isAsked.resolve()
        await answer.promise
      }
      const late = method === 'kill' ? service.kill({ loop: 'x', job: record.id }, never) : remove()
      const done = method === 'kill' ? expect(late).rejects.toMatchObject(missing) : late
      await isAsked.promise
      inspecting = () => Promise.resolve()
      await end(record.id, 0)
      await remove()
      answer.resolve()
      await done
      await expectGone()
    })

    it('should end the wait for more of its log', async () => {
      await adopt(record)
      const [isAsleep, wake] = [deferred<void>(), deferred<void>()]
      sleep = async (ms, signal) => {
        if (ms > 100) return await systemClock.sleep(ms, signal)
        isAsleep.resolve()
        await wake.promise
      }
      const params = jobLogs.params.parse({ loop: 'x', job: record.id, waitMs: 10_000 })
      const waiting = expect(service.logs(params, never)).rejects.toMatchObject(missing)
      await isAsleep.promise
      await end(record.id, 0)
      await remove()
      wake.resolve()
      await waiting
      await expectGone()
    })

    it('should leave it out of a list that is being made', async () => {
      const { process: _, ...other } = record
      const slow = { ...other, id: 'ffffffff', startedAt: '2026-02-01T00:00:00.000Z', container: { name: 'slow' } }
      await adopt(record, slow)
      const [isAsked, answer] = [deferred<void>(), deferred<void>()]
      inspecting = async (container) => {
        if (container !== 'slow') return
        isAsked.resolve()
        await answer.promise
      }
      const listing = service.list({ loop: 'x' }, never)
      await isAsked.promise
      await end(record.id, 0)
      await remove()
      answer.resolve()
      expect((await listing).jobs).toMatchObject([{ id: 'ffffffff' }])
      expect(leases.list()).toHaveLength(1)
    })
  })

  describe('while a job begins', () => {
    let id: string
    let begin: (words: string) => void
    let starting: ReturnType<JobService['start']>

    beforeEach(async () => {
      const [words, made] = [deferred<string>(), deferred<string>()]
      begin = words.resolve
      const make = launch
      launch = async (job) => {
        await make(job)
        made.resolve(job)
        return await words.promise
      }
      starting = start()
      id = await made.promise
    })

    it.each(['kill', 'remove'] as const)('should wait to %s it', async (method) => {
      let isDone = false
      const call = method === 'kill' ? service.kill({ loop: 'x', job: id }, never) : remove(id)
      const done = call.finally(() => (isDone = true))
      await systemClock.sleep(250)
      expect(isDone).toBe(false)
      begin('began 7\n')
      expect(await starting).toMatchObject({ job: { id, state: 'running' } })
      await until(async () => (await service.get({ loop: 'x', job: id }, never)).job.reason !== null)
      await end(id, 143)
      if (method === 'kill') expect(await done).toMatchObject({ job: { state: 'exited', exitCode: 143 } })
      else await done
      expect(await store.list('loop')).toHaveLength(method === 'kill' ? 1 : 0)
    })

    it('should say that there is none when it did not begin', async () => {
      const kill = expect(service.kill({ loop: 'x', job: id }, never)).rejects.toMatchObject({ code: 'job_not_found' })
      await end(id, 0)
      begin('missing\n')
      await expect(starting).rejects.toMatchObject({ code: 'exec_not_found' })
      await kill
    })

    it('should watch one that did not begin and cannot be removed', async () => {
      await end(id, 0)
      launched = () => {
        recordsOf = () => '/proc/version/jobs'
      }
      begin('missing\n')
      await expect(starting).rejects.toMatchObject({ code: 'storage_failed' })
      recordsOf = () => join(directory, 'jobs')
      expect(leases.list()).toHaveLength(1)
    })
  })

  describe('when its start is cancelled after the job has begun', () => {
    const cancel = () => new Error('cancelled by the test')

    it('should take it back before it is written down', async () => {
      const client = new AbortController()
      const make = launch
      launch = async (id) => {
        const words = await make(id)
        await end(id, 0)
        return words
      }
      launched = () => client.abort(cancel())
      await expect(start(client.signal)).rejects.toThrow('cancelled by the test')
      expect(await store.list('loop')).toEqual([])
      expect(leases.list()).toEqual([])
      expect(changes).toEqual([])
    })

    it('should end and remove it afterwards', async () => {
      const client = new AbortController()
      let id = ''
      const make = launch
      launch = async (job) => {
        id = job
        return await make(job)
      }
      launched = () => {
        recordsOf = () => {
          client.abort(cancel())
          return join(directory, 'jobs')
        }
      }
      const starting = expect(start(client.signal)).rejects.toThrow('cancelled by the test')
      await until(() => leases.list().length === 1)
      await end(id, 143)
      await starting
      expect(await store.list('loop')).toEqual([])
      expect(leases.list()).toEqual([])
      expect(changes).toEqual(['exited', 'removed'])
    })
  })

  it('should have begun a job although old ones cannot be removed', async () => {
    let calls = 0
    launched = () => {
      // The first is the record of the job.
      recordsOf = () => (calls++ === 0 ? join(directory, 'jobs') : '/proc/version/jobs')
    }
    expect(await start()).toMatchObject({ job: { state: 'running' } })
    recordsOf = () => join(directory, 'jobs')
    expect(lines).toMatchObject([{ level: 'warn', message: 'could not remove old jobs of a loop' }])
    expect(leases.list()).toHaveLength(1)
    expect(changes).toEqual(['running'])
  })
})
