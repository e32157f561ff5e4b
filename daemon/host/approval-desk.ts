import { randomBytes } from 'node:crypto'
import { type ApprovalInfo, LoopatError, type NotificationParamsOf } from '@loopatd/protocol'
import type { Clock } from '../lib/clock.ts'
import type { Grant } from './grant.ts'

/** Commands of one loop that wait at the same time; more are denied. */
const MAX_WAITING = 32

/** How the wait for an approval ended. */
export type ApprovalOutcome = NotificationParamsOf<'host/approvalSettled'>['outcome']

/** A command that is to be approved. */
export interface ApprovalRequest extends Omit<ApprovalInfo, 'id' | 'requestedAt' | 'expiresAt'> {
  /** The command, byte by byte. */
  readonly words: readonly Buffer[]
  /** The grant that asks. */
  readonly asks: Grant
}

/** What is told of approvals. Neither must throw. */
export interface ApprovalDeskOptions {
  readonly clock: Clock
  /** Milliseconds after which silence denies. */
  readonly waitMs: number
  readonly onRequested: (approval: ApprovalInfo) => void
  readonly onSettled: (approval: ApprovalInfo, outcome: ApprovalOutcome) => void
}

/** A command that waits. */
export interface WaitingCommand extends Pick<ApprovalRequest, 'words' | 'asks'> {
  readonly approval: ApprovalInfo
}

interface Waiting extends WaitingCommand {
  /** @returns whether it had not ended before */
  readonly settle: (outcome: ApprovalOutcome) => boolean
  /** Whether somebody is about to answer. */
  isTaken: boolean
}

/** Commands that wait until somebody approves them. An approval is for one call, and for exactly what was shown. */
export class ApprovalDesk {
  readonly #options: ApprovalDeskOptions
  readonly #waiting = new Map<string, Waiting>()

  constructor(options: ApprovalDeskOptions) {
    this.#options = options
  }

  /** Those that wait, oldest first. */
  list(loop?: string): ApprovalInfo[] {
    const all = [...this.#waiting.values()].map(({ approval }) => approval)
    return loop === undefined ? all : all.filter((approval) => approval.loop === loop)
  }

  /** Whether a loop has as many waiting as it may. */
  isFull(loop: string): boolean {
    return this.list(loop).length >= MAX_WAITING
  }

  /**
   * Waits for an answer.
   * @param onAsked is told of the approval at once
   * @param signal aborts when the caller is gone
   */
  async request(
    { words, asks, ...asked }: ApprovalRequest,
    onAsked: (approval: ApprovalInfo) => void,
    signal: AbortSignal,
  ): Promise<ApprovalOutcome> {
    const { clock, waitMs, onRequested, onSettled } = this.#options
    const now = clock.now().getTime()
    const approval: ApprovalInfo = {
      ...asked,
      id: randomBytes(4).toString('hex'),
      requestedAt: new Date(now).toISOString(),
      expiresAt: new Date(now + waitMs).toISOString(),
    }
    const over = new AbortController()
    const outcome = await new Promise<ApprovalOutcome>((resolve) => {
      const settle = (how: ApprovalOutcome) => {
        resolve(how)
        return this.#waiting.delete(approval.id)
      }
      this.#waiting.set(approval.id, { approval, words, asks, settle, isTaken: false })
      onRequested(approval)
      onAsked(approval)
      if (signal.aborted) settle('gone')
      signal.addEventListener('abort', () => settle('gone'), { signal: over.signal })
      clock.sleep(waitMs, over.signal).then(
        () => settle('expired'),
        () => undefined,
      )
    })
    over.abort()
    onSettled(approval, outcome)
    return outcome
  }

  /**
   * Answers. Nobody else can answer meanwhile.
   * @param first is done before; when it fails, the command waits on
   * @returns what `first` returns
   * @throws LoopatError `approval_not_found`, also when the wait ended while `first` was done; what `first` throws
   */
  async answer<T>(
    id: string,
    outcome: 'approved' | 'denied',
    first: (waiting: WaitingCommand) => Promise<T>,
  ): Promise<{ readonly approval: ApprovalInfo; readonly result: T }> {
    const found = this.#waiting.get(id)
    if (found === undefined || found.isTaken) throw notFound(id)
    found.isTaken = true
    try {
      const result = await first(found)
      if (!found.settle(outcome)) throw notFound(id, result !== undefined)
      return { approval: found.approval, result }
    } finally {
      found.isTaken = false
    }
  }
}

/** @param isGranted whether a grant was added before that was found out */
function notFound(id: string, isGranted = false): LoopatError {
  return new LoopatError('approval_not_found', `no command waits for the approval ${id}`, {
    next: isGranted
      ? 'It was settled meanwhile, or its caller is gone. The grant was added all the same. Run: loopctl host list'
      : 'It was settled, or its caller is gone. Run: loopctl host pending',
  })
}
