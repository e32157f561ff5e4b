import { type CheckedParamsOf, LoopatError, MAX_LOOP_ENV_BYTES, type ResultOf } from '@loopatd/protocol'
import { findLoop, type LoopContext, publishLoop, readLoop, refuseArchived } from './loop-context.ts'
import type { Meta } from './loop-meta.ts'

type Env = Record<string, string>

/** The plain variables of a loop. */
export async function listEnv(context: LoopContext, ref: string): Promise<ResultOf<'env/list'>> {
  const { id } = await findLoop(context, ref)
  return { env: sorted((await readLoop(context, id)).meta.env) }
}

/** Sets variables of a loop. Nothing is started or made anew: they are delivered when a command starts. */
export async function setEnv(
  context: LoopContext,
  { loop, env }: CheckedParamsOf<'env/set'>,
): Promise<ResultOf<'env/set'>> {
  return await change(context, loop, (before) => ({ ...before, ...env }))
}

/** Takes variables of a loop away. */
export async function unsetEnv(
  context: LoopContext,
  { loop, names }: CheckedParamsOf<'env/unset'>,
): Promise<ResultOf<'env/unset'>> {
  const gone = new Set(names)
  return await change(context, loop, (before) =>
    Object.fromEntries(Object.entries(before).filter(([name]) => !gone.has(name))),
  )
}

/** @throws `invalid_params` when there would be too much, `loop_archived` */
async function change(context: LoopContext, ref: string, next: (before: Env) => Env): Promise<{ env: Env }> {
  const { id } = await findLoop(context, ref)
  const meta = await context.store.update(id, (now) => {
    refuseArchived(now)
    const env = next(now.env ?? {})
    checkEnvSize(now, env)
    const { env: _env, ...rest } = now
    return Object.keys(env).length === 0 ? rest : { ...rest, env }
  })
  await publishLoop(context, id)
  return { env: sorted(meta.env) }
}

/** Refuses variables that are too much for one loop. @throws `invalid_params` */
export function checkEnvSize({ name }: Meta, env: Env): void {
  const bytes = Object.entries(env).reduce((sum, pair) => sum + Buffer.byteLength(pair.join('=')) + 1, 0)
  if (bytes <= MAX_LOOP_ENV_BYTES) return
  throw new LoopatError(
    'invalid_params',
    `the variables of loop "${name}" would be larger than ${MAX_LOOP_ENV_BYTES} bytes`,
    {
      next: 'Put large values into a file in the loop.',
    },
  )
}

function sorted(env: Env = {}): Env {
  return Object.fromEntries(Object.entries(env).sort(([a], [b]) => (a < b ? -1 : Number(a > b))))
}
