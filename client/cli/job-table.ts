import type { JobInfo, JobState } from '@loopatd/protocol'
import type { Colour } from './colour.ts'
import type { Context } from './context.ts'
import { type Cell, table } from './table.ts'
import { age } from './text.ts'

const COLOURS: Readonly<Record<JobState, Colour>> = {
  starting: 'yellow',
  running: 'green',
  exited: 'dim',
  lost: 'red',
}

/** What became of a job: `running`, `exited 3`, `lost (the loop was stopped)`. */
export function describeJob({ state, exitCode, reason }: JobInfo): string {
  const code = exitCode === null ? '' : ` ${exitCode}`
  return `${state}${code}${reason === null ? '' : ` (${reason})`}`
}

/** Jobs as a table for people. */
export function jobTable(jobs: readonly JobInfo[], context: Context): Promise<string> {
  const rows = jobs.map((job): Cell[] => [
    { text: job.id, colour: 'bold' },
    age(job.startedAt, context.now()),
    { text: describeJob(job), colour: COLOURS[job.state] },
    job.command.join(' '),
  ])
  return table(['JOB', 'AGE', 'STATE', 'COMMAND'], rows, context.output.coloured)
}
