import { describe, expect, it } from 'vitest'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { StartGate } from '../../../daemon/loop/start-gate.ts'
import { never } from './kit.ts'

/** Enters, and notes when it got in. */
function enter(gate: StartGate, key: string, entered: string[], isInteractive = false, messages: string[] = []) {
  const onProgress = ({ message }: { message: string }) => void messages.push(message)
  const place = gate.enter({ key, isInteractive, onProgress }, never)
  void place.then(() => entered.push(key))
  return place
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('StartGate', () => {
  it('should let few in at the same time and the rest in turn', async () => {
    const gate = new StartGate(2)
    const entered: string[] = []
    const places = ['a', 'b', 'c', 'd'].map((key) => enter(gate, key, entered))
    await turn()
    expect({ entered, waiting: gate.waiting }).toEqual({ entered: ['a', 'b'], waiting: 2 })
    const [first] = await Promise.all(places.slice(0, 2))
    first?.[Symbol.dispose]()
    first?.[Symbol.dispose]()
    await turn()
    expect(entered).toEqual(['a', 'b', 'c'])
  })

  it('should let persons in before scripts, in the order in which they came', async () => {
    const gate = new StartGate(1)
    const entered: string[] = []
    const first = enter(gate, 'running', entered)
    const waiting = new Map(['s1', 's2'].map((key) => [key, enter(gate, key, entered)]))
    for (const key of ['p1', 'p2']) waiting.set(key, enter(gate, key, entered, true))
    gate.promote('s2')
    gate.promote('nobody')
    let place: Disposable | undefined = await first
    for (const key of ['p1', 'p2', 's2', 's1']) {
      place?.[Symbol.dispose]()
      place = await waiting.get(key)
      expect(entered.at(-1)).toBe(key)
    }
  })

  it('should tell each its place, whenever that changes', async () => {
    const gate = new StartGate(1)
    const messages: string[] = []
    const place = await gate.enter({ key: 'a', isInteractive: false, onProgress: noProgress }, never)
    void enter(gate, 'b', [])
    void enter(gate, 'c', [], false, messages)
    void enter(gate, 'd', [], true)
    place[Symbol.dispose]()
    expect(messages).toEqual([
      'Waiting for other starts: number 2 in the queue',
      'Waiting for other starts: number 3 in the queue',
      'Waiting for other starts: number 2 in the queue',
    ])
  })

  it('should lose no place to those who give up', async () => {
    const gate = new StartGate(1)
    const entered: string[] = []
    const place = await enter(gate, 'a', entered)
    const gone = new AbortController()
    const waiting = gate.enter({ key: 'b', isInteractive: false, onProgress: noProgress }, gone.signal)
    const last = enter(gate, 'c', entered)
    gone.abort(new Error('gave up'))
    await expect(waiting).rejects.toThrow('gave up')
    await expect(gate.enter({ key: 'x', isInteractive: true, onProgress: noProgress }, gone.signal)).rejects.toThrow()
    place[Symbol.dispose]()
    ;(await last)[Symbol.dispose]()
    expect(gate.waiting).toBe(0)
    await enter(gate, 'd', entered)
    expect(entered).toEqual(['a', 'c', 'd'])
  })

  it('should hand a place on that came in the moment of giving up', async () => {
    const gate = new StartGate(1)
    const entered: string[] = []
    const place = await enter(gate, 'a', entered)
    const gone = new AbortController()
    const waiting = gate.enter({ key: 'b', isInteractive: false, onProgress: noProgress }, gone.signal)
    gone.abort(new Error('gave up'))
    place[Symbol.dispose]()
    await expect(waiting).rejects.toThrow('gave up')
    await enter(gate, 'c', entered)
    expect(entered).toEqual(['a', 'c'])
  })
})
