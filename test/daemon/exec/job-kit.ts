import type { JobRecord } from '../../../daemon/exec/job-record.ts'

/** A job that runs, but for what a test wants otherwise. */
export function jobRecord(changes: Partial<JobRecord> = {}): JobRecord {
  return {
    version: 1,
    id: '0123abcd',
    loop: 'loop',
    command: ['make'],
    keepalive: true,
    maxLogBytes: 65_536,
    startedAt: '2026-01-01T00:00:00.000Z',
    state: 'running',
    container: { name: 'c', id: 'cid', startedAt: '2025-12-31T00:00:00Z' },
    session: 7,
    ...changes,
  }
}
