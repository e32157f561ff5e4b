import type { JobStartParams } from '@loopatd/client'
import type { Context } from './context.ts'

/** Starts a job and prints its id, or all about it with `--json`. */
export async function startJob(
  params: JobStartParams,
  { json }: { readonly json?: boolean },
  context: Context,
): Promise<void> {
  const { job } = await context.withClient((client) =>
    client.job.start(params, {
      signal: context.signal,
      onProgress: (progress) => context.output.progress.update(progress),
    }),
  )
  if (json) context.output.json(job)
  else context.output.line(job.id)
}
