import type { Grant } from './grant.ts'
import { loggedPattern, type Mask } from './logged-text.ts'

/** Exit codes of what did not run (rule H-8). */
export const CODE = { unavailable: 125, denied: 126, missing: 127 } as const

/** Why a command does not run. Told to its caller, and to the log. */
export class HostRefusal extends Error {
  override readonly name = 'HostRefusal'
  readonly code: number
  /** The rule behind it, for the log. */
  readonly rule: string

  /**
   * @param message what the caller reads
   * @param how exit code, and the rule for the log; default: the message
   */
  constructor(message: string, { code, rule = message }: { code: number; rule?: string }) {
    super(message)
    this.code = code
    this.rule = rule
  }
}

/** A grant as the rule behind a decision. */
export function ruleOf({ origin, record, wanted }: Grant, mask: Mask): string {
  return `${record.decision} by grant ${record.id} of the ${origin === 'config' ? 'configuration' : origin}: ${loggedPattern(wanted, mask)}`
}
