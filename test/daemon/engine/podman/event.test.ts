import type { ServerResponse } from 'node:http'
import { describe, expect, it } from 'vitest'
import type { EngineEventMessage } from '../../../../daemon/engine/engine.ts'
import { createPodmanEngine } from '../../../../daemon/engine/podman/podman-engine.ts'
import { answer, startFakeApi } from '../../../harness/podman-api.ts'

describe('events', () => {
  it('should keep nanoseconds exact, translate actions and leave other things out', async () => {
    await using run = await follow()
    const nano = `${Date.now()}123457`
    const stream = await run.stream(1)
    stream.write(line({ Action: 'die', timeNano: nano, Attributes: { name: 'c', image: 'i', 'a.b': '"timeNano":7' } }))
    stream.write(line({ Type: 'network', Action: 'connect', timeNano: nano }))
    stream.write('{"unknown":true}\n')
    await expect.poll(() => run.messages.length).toBe(2)
    expect(run.messages).toEqual([
      { kind: 'connected' },
      {
        kind: 'container',
        action: 'died',
        id: 'id',
        name: 'c',
        labels: { 'a.b': '"timeNano":7' },
        timeNano: nano,
      },
    ])
  })

  it('should reconnect, replay from before the last event, and tell none twice', async () => {
    await using run = await follow()
    const nano = (offset: number) => `${Date.now() + offset}000001`
    const [first, second] = [nano(0), nano(5)]
    const one = await run.stream(1)
    one.write(line({ Action: 'start', timeNano: first }))
    await expect.poll(() => run.messages.length).toBe(2)
    one.destroy()
    const two = await run.stream(2)
    two.write(line({ Action: 'start', timeNano: first }))
    two.write(line({ Action: 'died', timeNano: second }))
    await expect.poll(() => run.messages.length).toBe(5)
    expect(run.messages.map((message) => ('action' in message ? message.action : message.kind))).toEqual([
      'connected',
      'start',
      'disconnected',
      'connected',
      'died',
    ])
    const since = Number(new URL(run.urls.at(-1) ?? '', 'http://x').searchParams.get('since'))
    expect(since).toBe(Math.floor(Number(first) / 1e9) - 1)
  })

  it('should survive lines that are no messages', async () => {
    await using run = await follow()
    ;(await run.stream(1)).write('no json\n')
    await run.stream(2)
    await expect.poll(() => run.messages.map(({ kind }) => kind)).toEqual(['connected', 'disconnected', 'connected'])
  })

  it('should count as connected when podman sends no headers before the first event', async () => {
    await using run = await follow(false)
    expect(run.messages).toEqual([])
    await expect.poll(() => run.messages, { timeout: 5000 }).toEqual([{ kind: 'connected' }])
  })
})

async function follow(sendsHeaders = true) {
  const streams: ServerResponse[] = []
  const urls: string[] = []
  const api = await startFakeApi((request, response) => {
    if (request.url?.startsWith('/_ping')) return answer(response, 200, 'OK')
    // A slow host has podman asked whether it lives.
    if (request.url?.includes('/events') !== true) return answer(response, 404, {})
    urls.push(request.url ?? '')
    streams.push(response)
    if (sendsHeaders) response.writeHead(200).flushHeaders()
  })
  const messages: EngineEventMessage[] = []
  const engine = createPodmanEngine({ socketPath: api.socketPath })
  const stop = engine.watch({ a: 'b' }, (message) => messages.push(message))
  const stream = async (number: number): Promise<ServerResponse> => {
    await expect.poll(() => streams.length, { timeout: 5000 }).toBe(number)
    const found = streams[number - 1]
    if (found === undefined) throw new Error('no stream')
    return found
  }
  return {
    messages,
    urls,
    stream,
    [Symbol.asyncDispose]: async () => {
      stop()
      await api[Symbol.asyncDispose]()
    },
  }
}

function line({
  Attributes = {},
  Type = 'container',
  ...rest
}: {
  Attributes?: object
  Type?: string
  Action: string
  timeNano: string
}) {
  const { timeNano, Action } = rest
  const text = JSON.stringify({ Type, Action, Actor: { ID: 'id', Attributes }, time: 1 })
  return `${text.slice(0, -1)},"timeNano":${timeNano}}\n`
}
