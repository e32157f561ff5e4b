import type { ApprovalInfo } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { ApprovalDesk, type ApprovalOutcome, type ApprovalRequest } from '../../../daemon/host/approval-desk.ts'
import { toGrant } from '../../../daemon/host/grant.ts'
import { deferred } from '../../../daemon/lib/deferred.ts'
import { ManualClock } from '../idle/manual-clock.ts'
import { turns } from './kit.ts'

const WAIT_MS = 120_000
const asks = toGrant(
  {
    id: '00000001',
    pattern: 'gh *',
    decision: 'ask',
    fullAccess: false,
    env: {},
    passEnv: [],
    createdAt: '2030-01-01T00:00:00Z',
  },
  { origin: 'loop', loop: 'a' },
)

function request(word = 'x', loop = 'a'): ApprovalRequest {
  const words = ['gh', word].map((text) => Buffer.from(text))
  return {
    ...{ loop, loopName: loop, argv: ['gh', word], command: `gh ${word}`, program: '/usr/bin/gh', cwd: '/w' },
    ...{ grant: 'gh *', fullAccess: false, words, asks },
  }
}

function open() {
  const clock = new ManualClock()
  const told: [string, string][] = []
  const desk = new ApprovalDesk({
    clock,
    waitMs: WAIT_MS,
    onRequested: ({ id }) => told.push([id, 'requested']),
    onSettled: ({ id }, outcome) => told.push([id, outcome]),
  })
  /** Asks, and hands out what the caller is told. */
  const ask = (asked = request(), signal = new AbortController().signal) => {
    const shown: ApprovalInfo[] = []
    const outcome: Promise<ApprovalOutcome> = desk.request(asked, (approval) => shown.push(approval), signal)
    const [approval] = shown
    if (approval === undefined) throw new Error('nobody was told')
    return { outcome, approval }
  }
  return { clock, told, desk, ask }
}

const nothing = async () => undefined
const notFound = expect.objectContaining({ code: 'approval_not_found' })

describe('ApprovalDesk', () => {
  it.each(['approved', 'denied'] as const)('should settle what is %s, once', async (outcome) => {
    const { desk, told, ask } = open()
    const one = ask()
    expect(desk.list()).toEqual([one.approval])
    const answer = await desk.answer(one.approval.id, outcome, async ({ words }) => words.map(String))
    expect(answer).toEqual({ approval: one.approval, result: ['gh', 'x'] })
    expect(await one.outcome).toBe(outcome)
    expect(desk.list()).toEqual([])
    await expect(desk.answer(one.approval.id, 'approved', nothing)).rejects.toEqual(notFound)
    expect(told).toEqual([
      [one.approval.id, 'requested'],
      [one.approval.id, outcome],
    ])
  })

  it('should show exactly what was asked, and until when', () => {
    const { clock, ask } = open()
    const { id, ...approval } = ask().approval
    expect(id).toMatch(/^[0-9a-f]{8}$/)
    const { words: _words, asks: _asks, ...shown } = request()
    expect(approval).toEqual({
      ...shown,
      requestedAt: clock.now().toISOString(),
      expiresAt: new Date(clock.now().getTime() + WAIT_MS).toISOString(),
    })
  })

  it('should deny what nobody answers in time, and no sooner', async () => {
    const { clock, desk, told, ask } = open()
    const one = ask()
    clock.advance(WAIT_MS - 1)
    await turns()
    expect(desk.list()).toHaveLength(1)
    clock.advance(1)
    expect(await one.outcome).toBe('expired')
    expect(told.at(-1)).toEqual([one.approval.id, 'expired'])
    await expect(desk.answer(one.approval.id, 'approved', nothing)).rejects.toEqual(notFound)
    expect(clock.sleeping).toBe(0)
  })

  it('should forget a command whose caller is gone, at once', async () => {
    const { clock, desk, ask } = open()
    const caller = new AbortController()
    const one = ask(request(), caller.signal)
    caller.abort()
    // Not even what comes in the same turn is too early.
    await expect(desk.answer(one.approval.id, 'approved', nothing)).rejects.toEqual(notFound)
    expect(await one.outcome).toBe('gone')
    await turns()
    expect(clock.sleeping).toBe(0)
  })

  it('should tell of a command whose caller was gone before', async () => {
    const { desk, told, ask } = open()
    const one = ask(request(), AbortSignal.abort())
    expect(await one.outcome).toBe('gone')
    expect(told.map(([, what]) => what)).toEqual(['requested', 'gone'])
    expect(desk.list()).toEqual([])
  })

  it('should bind an approval to one call, though the same is asked twice', async () => {
    const { desk, ask } = open()
    const [one, two] = [ask(), ask()]
    expect(one.approval.id).not.toBe(two.approval.id)
    await desk.answer(two.approval.id, 'approved', nothing)
    expect(await two.outcome).toBe('approved')
    expect(desk.list()).toEqual([one.approval])
    await desk.answer(one.approval.id, 'denied', nothing)
    expect(await one.outcome).toBe('denied')
  })

  it('should let nobody else answer while somebody does', async () => {
    const { desk, ask } = open()
    const one = ask()
    const stored = deferred<string>()
    const first = desk.answer(one.approval.id, 'approved', () => stored.promise)
    await expect(desk.answer(one.approval.id, 'denied', nothing)).rejects.toEqual(notFound)
    stored.resolve('a grant')
    expect(await first).toMatchObject({ result: 'a grant' })
    expect(await one.outcome).toBe('approved')
  })

  it('should have a command wait on when what comes first fails', async () => {
    const { desk, ask } = open()
    const one = ask()
    const fails = desk.answer(one.approval.id, 'approved', () => Promise.reject(new Error('disk full')))
    await expect(fails).rejects.toThrow('disk full')
    expect(desk.list()).toEqual([one.approval])
    await desk.answer(one.approval.id, 'denied', nothing)
    expect(await one.outcome).toBe('denied')
  })

  it.each(['expired', 'gone'] as const)('should tell who answers that it was %s meanwhile', async (how) => {
    for (const [stored, next] of [
      ['a grant', /The grant was added all the same/],
      [undefined, /^It was settled, or its caller is gone\. Run:/],
    ] as const) {
      const { clock, desk, told, ask } = open()
      const caller = new AbortController()
      const one = ask(request(), caller.signal)
      const first = deferred<string | undefined>()
      const answer = desk.answer(one.approval.id, 'approved', () => first.promise)
      if (how === 'gone') caller.abort()
      else clock.advance(WAIT_MS)
      expect(await one.outcome).toBe(how)
      first.resolve(stored)
      await expect(answer).rejects.toEqual(
        expect.objectContaining({ code: 'approval_not_found', next: expect.stringMatching(next) }),
      )
      expect(told.at(-1)).toEqual([one.approval.id, how])
    }
  })

  it('should list by loop, and hold a bounded number of each', async () => {
    const { desk, ask } = open()
    const other = ask(request('x', 'b'))
    for (let count = 0; !desk.isFull('a'); count += 1) {
      expect(count).toBeLessThan(1000)
      ask(request(String(count)))
    }
    expect(desk.isFull('b')).toBe(false)
    expect(desk.list('b')).toEqual([other.approval])
    expect(desk.list('a')[0]?.argv).toEqual(['gh', '0'])
    await desk.answer(desk.list('a')[0]?.id ?? '', 'denied', nothing)
    expect(desk.isFull('a')).toBe(false)
  })
})
