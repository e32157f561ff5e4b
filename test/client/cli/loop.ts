import type { LoopInfo } from '../../../protocol/loop.ts'

/** A loop as the daemon describes it. */
export function loopInfo(over: Partial<LoopInfo> = {}): LoopInfo {
  return {
    id: '11111111-2222-4333-8444-555555555555',
    name: 'fix-login',
    title: 'Fix login',
    state: 'running',
    reason: null,
    createdAt: '2026-01-02T01:04:05.000Z',
    archivedAt: null,
    startedAt: null,
    address: '10.89.0.2',
    user: 'me',
    repo: null,
    branch: 'loop/fix-login-111111',
    image: null,
    vault: 'default',
    ...over,
  }
}
