import type { ApprovalInfo, GrantInfo } from '../../../protocol/host.ts'
import { loopInfo } from './loop.ts'

/** A grant as the daemon describes it. */
export function grantInfo(over: Partial<GrantInfo> = {}): GrantInfo {
  return {
    id: '0123abcd',
    loop: loopInfo().id,
    origin: 'loop',
    pattern: 'gh pr view *',
    decision: 'allow',
    program: '/usr/bin/gh',
    fullAccess: false,
    env: [],
    createdAt: '2026-01-02T03:00:00.000Z',
    expiresAt: null,
    fault: null,
    ...over,
  }
}

/** A command that waits for an approval, as the daemon describes it. */
export function approvalInfo(over: Partial<ApprovalInfo> = {}): ApprovalInfo {
  return {
    id: '4567cdef',
    loop: loopInfo().id,
    loopName: 'fix-login',
    argv: ['gh', 'pr', 'create', '--title', 'a b'],
    command: "gh pr create --title 'a b'",
    program: '/usr/bin/gh',
    cwd: '/home/me/.loopat/loops/1/workdir',
    grant: 'gh pr create *',
    fullAccess: false,
    requestedAt: '2026-01-02T03:03:05.000Z',
    expiresAt: '2026-01-02T03:05:05.000Z',
    ...over,
  }
}
