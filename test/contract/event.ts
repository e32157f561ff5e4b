import { expect, it } from 'vitest'
import type { EngineEventMessage } from '../../daemon/engine/engine.ts'
import { drain } from './exec.ts'
import { type GetSubject, Workshop } from './subject.ts'

/** What every engine promises about events, and about its own end. */
export function eventContract(subject: GetSubject): void {
  it('should answer and tell about itself', async () => {
    const { engine } = subject()
    await engine.ping()
    const info = await engine.info()
    expect(info.version).toMatch(/^\d+\.\d+/)
    expect(info.rootless).toBe(true)
  })

  it('should tell what happens to containers with the labels, and to no other', async () => {
    await using shop = new Workshop(subject())
    const { messages, waitFor, stop } = follow(shop)
    await waitFor(({ kind }) => kind === 'connected')
    const other = shop.spec({ name: shop.containerName('other'), labels: { other: 'label' } })
    await shop.engine.container.create(other)
    const name = await shop.running()
    await shop.engine.container.stop(name, 1)
    await shop.engine.container.remove(name)
    await waitFor((message) => message.kind === 'container' && message.action === 'remove')
    stop()
    const events = messages.flatMap((message) => (message.kind === 'container' ? [message] : []))
    expect(messages[0]).toEqual({ kind: 'connected' })
    expect(new Set(events.map((event) => event.name))).toEqual(new Set([name]))
    expect(events[0]).toMatchObject({
      action: 'create',
      labels: shop.labels,
      timeNano: expect.stringMatching(/^\d{18,}$/),
    })
    const actions = events.map(({ action }) => action)
    expect(actions.filter((action) => ['create', 'start', 'died', 'remove'].includes(action))).toEqual([
      'create',
      'start',
      'died',
      'remove',
    ])
  })

  it('should tell nothing after it was told to stop', async () => {
    await using shop = new Workshop(subject())
    const { messages, waitFor, stop } = follow(shop)
    await waitFor(({ kind }) => kind === 'connected')
    stop()
    stop()
    const count = messages.length
    await shop.running()
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(messages).toHaveLength(count)
  })

  it('should survive the end of the engine: commands are lost, containers are not, events come back', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const { messages, waitFor, stop } = follow(shop)
    await waitFor(({ kind }) => kind === 'connected')
    const exec = await shop.exec(name, 'sleep 9999')
    drain(exec)
    await subject().crash()
    await expect(exec.exit).rejects.toMatchObject({ kind: 'connection_lost' })
    await waitFor(({ kind }) => kind === 'disconnected')
    await subject().recover()
    await waitFor(() => messages.filter(({ kind }) => kind === 'connected').length === 2)
    expect(await shop.engine.container.inspect(name)).toMatchObject({ status: 'running' })
    expect(await shop.run(name, 'echo alive')).toMatchObject({ stdout: 'alive\n', exitCode: 0 })
    await shop.engine.container.stop(name, 1)
    await waitFor((message) => message.kind === 'container' && message.action === 'died')
    stop()
    const keys = messages.flatMap((message) =>
      message.kind === 'container' ? [`${message.timeNano} ${message.id} ${message.action}`] : [],
    )
    expect(new Set(keys).size).toBe(keys.length)
  })
}

function follow(shop: Workshop) {
  const messages: EngineEventMessage[] = []
  const stop = shop.engine.watch(shop.labels, (message) => messages.push(message))
  const waitFor = async (matches: (message: EngineEventMessage) => boolean) => {
    await expect.poll(() => messages.some(matches), { timeout: 20_000, interval: 20 }).toBe(true)
  }
  return { messages, stop, waitFor }
}
