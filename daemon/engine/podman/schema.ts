import { z } from 'zod'
import { EngineError } from '../engine.ts'

/** What is read of podman's answers. Everything else in them is ignored. */

const labels = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {})

export const created = z.object({ Id: z.string().min(1) })

export const containerSummaries = z.array(
  z.object({ Id: z.string(), Names: z.array(z.string()), Labels: labels, State: z.string() }),
)

export const containerDetails = z.object({
  Id: z.string(),
  Name: z.string(),
  Image: z.string(),
  State: z.object({
    Status: z.string(),
    Pid: z.number().int(),
    ExitCode: z.number().int(),
    StartedAt: z.string(),
    FinishedAt: z.string(),
  }),
  Config: z.object({ Labels: labels }),
  HostConfig: z.object({ Binds: z.array(z.string()).nullish(), Init: z.boolean().nullish() }),
  NetworkSettings: z.object({
    IPAddress: z.string().nullish(),
    Networks: z.record(z.string(), z.object({ IPAddress: z.string().nullish() })).nullish(),
  }),
})

export const execDetails = z.object({
  Running: z.boolean(),
  /** Whether it has ended; one that was made and not yet started neither runs nor has ended. */
  CanRemove: z.boolean(),
  Pid: z.number().int(),
  ExitCode: z.number().int(),
})

export const imageSummaries = z.array(
  z.object({
    Id: z.string(),
    ParentId: z.string().nullish(),
    RepoTags: z.array(z.string()).nullish(),
    Labels: labels,
    Size: z.number(),
    Created: z.number(),
  }),
)

export const imageDetails = z.object({
  Id: z.string(),
  RepoTags: z.array(z.string()).nullish(),
  Config: z.object({ Labels: labels }).nullish(),
  Size: z.number(),
  Created: z.string(),
})

export const externalContainers = z.array(
  z.object({
    Id: z.string(),
    Names: z.array(z.string()).nullish(),
    Image: z.string(),
    ImageID: z.string(),
    Created: z.string(),
    State: z.string(),
    Command: z.array(z.string()).nullish(),
  }),
)

export const network = z.object({ name: z.string(), labels })

export const networks = z.array(network)

export const info = z.object({
  host: z.object({
    cgroupVersion: z.string(),
    cgroupControllers: z.array(z.string()).nullish(),
    networkBackend: z.string().nullish(),
    security: z.object({ rootless: z.boolean() }),
  }),
  store: z.object({ graphDriverName: z.string() }),
  version: z.object({ Version: z.string() }),
})

export const storeInfo = z.object({ store: z.object({ graphRoot: z.string(), graphDriverName: z.string() }) })

export const containerState = z.object({ State: z.object({ Status: z.string() }) })

export const event = z.object({
  Type: z.string(),
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: labels }),
})

/**
 * Reads an answer.
 * @param what the operation, for the message
 * @throws EngineError `failed` when the answer is not what podman answers
 */
export function read<T>(schema: z.ZodType<T>, answer: unknown, what: string): T {
  const result = schema.safeParse(answer)
  if (result.success) return result.data
  const message = `podman's answer cannot be read (${what}): ${z.prettifyError(result.error)}`
  throw new EngineError('failed', message, { cause: result.error })
}
