import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { LoopCache } from '../../../daemon/loop/loop-cache.ts'
import { containerName, ownerLabels } from '../../../daemon/loop/loop-spec.ts'
import { FakeEngine } from '../../fake/engine.ts'
import { ManualClock } from '../idle/manual-clock.ts'
import { type LogLine, memoryLog, never, UNKNOWN_ID, until } from './kit.ts'

const ID = UNKNOWN_ID
const NAME = containerName('ws', ID)
let engine: FakeEngine
let clock: ManualClock
let cache: LoopCache
let changed: string[]
let syncs: number
let lines: LogLine[]

async function make(labels = ownerLabels('ws', ID), name = NAME): Promise<void> {
  await engine.container.create({
    name,
    image: 'localhost/x:1',
    hostname: 'x',
    labels,
    command: ['sleep', '1000'],
    workdir: '/',
    env: {},
    mounts: [],
    keepId: { uid: 2000, gid: 2000 },
    init: true,
    network: { kind: 'none' },
    dns: [],
    limits: {},
    stopTimeoutSeconds: 5,
  })
}

const calls = () => {
  const made = [...engine.faults.calls]
  engine.faults.clearCalls()
  return made
}

beforeEach(() => {
  engine = new FakeEngine({ images: ['localhost/x:1'] })
  clock = new ManualClock()
  changed = []
  syncs = 0
  lines = []
  cache = new LoopCache({
    engine,
    workspace: 'ws',
    clock,
    log: memoryLog(lines),
    onChange: (id) => changed.push(id),
    onSync: () => {
      syncs += 1
    },
  })
})

afterEach(async () => {
  cache.close()
  await engine[Symbol.asyncDispose]()
})

describe('LoopCache', () => {
  it('should know what was there before it looked', async () => {
    await make()
    await engine.container.start(NAME)
    cache.open()
    expect(await cache.trusted()).toBe(true)
    expect(cache.peek(ID)).toMatchObject({ name: NAME, status: 'running' })
    expect(cache.loopIds()).toEqual([ID])
    expect(syncs).toBe(1)
  })

  it('should ask nothing while the stream is proven alive, and one ping afterwards', async () => {
    cache.open()
    await cache.trusted()
    calls()
    clock.advance(2000)
    expect(await cache.trusted()).toBe(true)
    expect(await cache.current(ID, never)).toBeUndefined()
    expect(calls()).toEqual([])
    clock.advance(1)
    expect(await Promise.all([cache.trusted(), cache.trusted(), cache.current(ID, never)])).toEqual([
      true,
      true,
      undefined,
    ])
    expect(calls()).toEqual(['ping'])
    clock.advance(2000)
    await cache.trusted()
    expect(calls()).toEqual([])
  })

  it('should take every event as a sign of life, and look at the loop that it is about', async () => {
    cache.open()
    await cache.trusted()
    clock.advance(1500)
    await make()
    await until(() => cache.peek(ID) !== undefined)
    expect(changed).toContain(ID)
    clock.advance(1500)
    calls()
    expect(await cache.current(ID, never)).toMatchObject({ status: 'created' })
    expect(calls()).toEqual([])
  })

  it('should see a container start, die and go', async () => {
    cache.open()
    await cache.trusted()
    await make()
    await engine.container.start(NAME)
    expect(await cache.current(ID, never)).toMatchObject({ status: 'running' })
    await engine.container.die(NAME, 3)
    expect(await cache.current(ID, never)).toMatchObject({ status: 'exited', exitCode: 3 })
    await engine.container.remove(NAME)
    expect(await cache.current(ID, never)).toBeUndefined()
    expect(cache.loopIds()).toEqual([])
  })

  it('should not look because of commands', async () => {
    cache.open()
    await cache.trusted()
    await make()
    await engine.container.start(NAME)
    await cache.current(ID, never)
    calls()
    const exec = await engine.container.exec(NAME, { command: ['true'], env: {}, stdin: false })
    await exec.exit
    expect(calls()).toEqual([`container.exec ${NAME}`])
  })

  it('should not trust itself without a stream, and ask instead', async () => {
    await make()
    cache.open()
    await cache.trusted()
    engine.disconnect('killed')
    expect(await cache.trusted()).toBe(false)
    await expect(cache.current(ID, never)).rejects.toMatchObject({ kind: 'unavailable' })
    expect(cache.peek(ID)).toMatchObject({ status: 'created' })
    engine.reconnect()
    expect(await cache.current(ID, never)).toMatchObject({ status: 'created' })
  })

  it('should read everything anew after a connection', async () => {
    await make()
    cache.open()
    await cache.trusted()
    engine.disconnect('killed')
    const other = '22222222-2222-4333-8444-555555555555'
    engine.faults.setDown(undefined)
    await engine.container.remove(NAME)
    await make(ownerLabels('ws', other), containerName('ws', other))
    engine.reconnect()
    expect(await cache.trusted()).toBe(true)
    expect(cache.loopIds()).toEqual([other])
    expect(syncs).toBe(2)
  })

  it('should not trust itself when the engine does not answer a ping', async () => {
    cache.open()
    await cache.trusted()
    clock.advance(3000)
    engine.faults.fail('ping', new EngineError('unavailable', 'hangs'))
    expect(await cache.trusted()).toBe(false)
    expect(await cache.trusted()).toBe(true)
  })

  it('should read everything again when a listing failed', async () => {
    engine.faults.fail('container.list', new EngineError('failed', 'locked'))
    await make()
    cache.open()
    expect(await cache.trusted()).toBe(true)
    expect(cache.loopIds()).toEqual([ID])
    expect(lines.map(({ message }) => message)).toContain('cannot list the containers of the workspace')
  })

  it('should try again by itself when a listing failed', async () => {
    engine.faults.fail('container.list', new EngineError('failed', 'locked'))
    await make()
    cache.open()
    await until(() => lines.length > 0)
    clock.advance(5000)
    await until(() => syncs === 1)
    expect(cache.peek(ID)).toMatchObject({ status: 'created' })
  })

  it('should know the others when one cannot be looked at', async () => {
    const other = `${UNKNOWN_ID.slice(0, -1)}6`
    await make()
    await make(ownerLabels('ws', other), containerName('ws', other))
    engine.faults.fail('container.inspect', new EngineError('failed', 'damaged'))
    cache.open()
    expect(await cache.trusted()).toBe(true)
    expect(syncs).toBe(1)
    expect(cache.loopIds()).toHaveLength(1)
    expect(lines.map(({ message }) => message)).toEqual(['cannot inspect the container of a loop'])
  })

  it('should read everything again when it could not look at one container', async () => {
    cache.open()
    await cache.trusted()
    engine.faults.fail('container.inspect', new EngineError('failed', 'locked'))
    await make()
    await until(() => lines.some(({ message }) => message === 'cannot inspect the container of a loop'))
    expect(await cache.current(ID, never)).toMatchObject({ status: 'created' })
  })

  it('should ask by itself when a look that is under way takes long, as one that was lost', async () => {
    cache.open()
    await cache.trusted()
    const hold = engine.faults.hold('container.inspect')
    await make()
    await hold.reached
    let isOver = false
    const asking = cache.current(ID, never).then((found) => {
      isOver = true
      return found
    })
    await until(() => clock.sleeping > 1)
    calls()
    clock.advance(999)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect([calls(), isOver]).toEqual([[], false])
    clock.advance(1)
    await until(() => calls().includes(`container.inspect ${NAME}`))
    hold.release()
    expect(await asking).toMatchObject({ status: 'created' })
  })

  it('should keep readers waiting for the first listing, but not for ever', async () => {
    engine.faults.setDown('not there yet')
    engine.disconnect()
    cache.open()
    let answer: boolean | undefined
    const asking = cache.trusted().then((trusted) => {
      answer = trusted
    })
    await Promise.resolve()
    clock.advance(2999)
    await Promise.resolve()
    expect(answer).toBeUndefined()
    clock.advance(1)
    await asking
    expect(answer).toBe(false)
    expect(await cache.trusted()).toBe(false)
  })

  it('should not wait for a listing that takes long', async () => {
    cache.open()
    await cache.trusted()
    const hold = engine.faults.hold('container.list')
    engine.disconnect()
    engine.reconnect()
    const asking = cache.trusted()
    await hold.reached
    await until(() => clock.sleeping > 1)
    clock.advance(2000)
    expect(await asking).toBe(false)
    hold.release()
    await until(() => syncs === 2)
    expect(await cache.trusted()).toBe(true)
  })

  it('should read everything once more when the connection was renewed while it read', async () => {
    cache.open()
    await cache.trusted()
    const hold = engine.faults.hold('container.list')
    engine.disconnect()
    engine.reconnect()
    await hold.reached
    engine.disconnect()
    engine.reconnect()
    calls()
    hold.release()
    await until(() => syncs === 2)
    expect(calls()).toEqual(['container.list'])
    expect(await cache.trusted()).toBe(true)
  })

  it('should not count a container that only has the name', async () => {
    await make({ 'loopat.workspace': 'ws' })
    await make(ownerLabels('ws', ID), 'renamed')
    cache.open()
    await cache.trusted()
    expect(cache.peek(ID)).toBeUndefined()
    expect(await cache.inspect(ID)).toBeUndefined()
  })

  it('should give the last question the last word', async () => {
    await make()
    cache.open()
    await cache.trusted()
    const hold = engine.faults.hold('container.inspect')
    const early = cache.inspect(ID)
    await hold.reached
    hold.release()
    await engine.container.start(NAME)
    const late = cache.inspect(ID)
    await Promise.all([early, late])
    expect(cache.peek(ID)).toMatchObject({ status: 'running' })
  })

  it('should stop asking when its caller gives up', async () => {
    engine.disconnect()
    cache.open()
    const caller = new AbortController()
    const asking = cache.trusted(caller.signal)
    caller.abort(new Error('gone'))
    await expect(asking).rejects.toThrow('gone')
  })

  it('should stop following when it is closed', async () => {
    cache.open()
    await cache.trusted()
    cache.close()
    cache.close()
    calls()
    await make()
    expect(await cache.trusted()).toBe(false)
    expect(calls()).toEqual([`container.create ${NAME}`])
  })
})
