/** Grants and approvals of host commands for people. What comes from a loop stands last on its line, or alone. */
import type { ApprovalInfo, GrantInfo, HostDecision } from '@loopatd/protocol'
import { formatDuration } from '@loopatd/protocol/duration'
import type { Colour } from './colour.ts'
import type { Context } from './context.ts'
import { type Cell, table } from './table.ts'
import { printable } from './text.ts'

const COLOURS: Readonly<Record<HostDecision, Colour>> = { allow: 'green', ask: 'yellow', deny: 'red' }

/** How long something still lasts: `59m3s`, `0s`; null gives `never`. */
function left(until: string | null, now: number): string {
  return until === null ? 'never' : formatDuration(Math.max(0, Date.parse(until) - now))
}

/** Grants as a table. @param names of loops, by id */
export function grantTable(
  grants: readonly GrantInfo[],
  names: ReadonlyMap<string, string>,
  context: Context,
): Promise<string> {
  const now = context.now()
  const rows = grants.map((grant): Cell[] => [
    { text: grant.id, colour: 'bold' },
    whose(grant, names),
    { text: grant.decision, colour: COLOURS[grant.decision] },
    grant.program ?? '-',
    access(grant),
    left(grant.expiresAt, now),
    grant.pattern,
  ])
  return table(['ID', 'FOR', 'DECISION', 'PROGRAM', 'ACCESS', 'EXPIRES', 'PATTERN'], rows, context.output.coloured)
}

function whose({ loop, origin }: GrantInfo, names: ReadonlyMap<string, string>): string {
  const scope = loop === null ? 'every loop' : (names.get(loop) ?? loop)
  return origin === 'config' ? `${scope} (config)` : scope
}

function access({ fault, fullAccess, decision }: GrantInfo): Cell {
  if (fault !== null) return { text: 'none', colour: 'yellow' }
  return fullAccess && decision !== 'deny' ? { text: 'full', colour: 'red' } : '-'
}

/** A grant on one line: `allow: gh pr view * (/usr/bin/gh, until …)`. */
export function describeGrant({ decision, pattern, program, expiresAt }: GrantInfo): string {
  const facts = [...(program === null ? [] : [program]), ...(expiresAt === null ? [] : [`until ${expiresAt}`])]
  return `${decision}: ${pattern}${facts.length === 0 ? '' : ` (${facts.join(', ')})`}`
}

/** Says when a grant amounts to more than it seems, or to nothing. */
export function noteGrant({ decision, fault, fullAccess, id, pattern, program }: GrantInfo, context: Context): void {
  if (fault !== null) context.output.note(`${id} lets nothing run: ${printable(fault)}`)
  if (!fullAccess || decision === 'deny') return
  context.output.note(
    `Warning: ${printable(program ?? pattern)} can run anything, so this amounts to full access to the host.`,
  )
}

/** A command that waits, a line for each fact: none of them can pass for another. */
export function approvalBlock(approval: ApprovalInfo, context: Context): Promise<string> {
  const rows: [string, Cell][] = [
    ['id', { text: approval.id, colour: 'bold' }],
    ['loop', approval.loopName],
    ['left', left(approval.expiresAt, context.now())],
    ['command', approval.command],
    ['program', approval.program],
    ['in', approval.cwd],
    ['asked by', approval.grant],
  ]
  if (approval.fullAccess) rows.push(['access', { text: 'full access to the host', colour: 'red' }])
  return table(
    [],
    rows.map(([label, value]) => [{ text: label, colour: 'dim' }, value]),
    context.output.coloured,
  )
}
