import type { CheckedParamsOf, LoopChange, LoopChangeEffect, LoopMount } from '@loopatd/protocol'
import { DEFAULT_VAULT } from '@loopatd/protocol'
import type { Meta } from './loop-meta.ts'

/** What is to be different: the parameters of `loop/plan`, mounts checked and resolved. */
export type LoopWishes = Omit<CheckedParamsOf<'loop/plan'>, 'loop'>

/** What a container is made from and can be changed: what is taken back when no container starts with it. */
export const SHAPING = ['image', 'vault', 'mounts', 'dns', 'limits', 'persistence', 'knowledgeRw'] as const

/** The part of the metadata that {@link SHAPING} names. */
export type Shape = Pick<Meta, (typeof SHAPING)[number]>

/** What an update changes. */
type Changeable = Shape & Pick<Meta, 'env'>

/** The part of the metadata that shapes the container. */
export function shapeOf(meta: Meta): Shape {
  return Object.fromEntries(SHAPING.flatMap((key) => (meta[key] === undefined ? [] : [[key, meta[key]]])))
}

/** The metadata with another shape. Pure. */
export function withShape(meta: Meta, shape: Shape): Meta {
  const rest = Object.entries(meta).filter(([key]) => !(SHAPING as readonly string[]).includes(key))
  return { ...(Object.fromEntries(rest) as Meta), ...shape }
}

/** The metadata with what was asked for. Defaults are absent, so that equal loops have equal metadata. Pure. */
export function applyWishes(meta: Meta, wishes: LoopWishes): Meta {
  const { image = meta.image, vault = meta.vault, dns = meta.dns ?? [] } = wishes
  const { persistence = meta.persistence, knowledgeRw = meta.knowledgeRw } = wishes
  const mounts = mountsOf(meta.mounts ?? [], wishes)
  const limits = merged(meta.limits ?? {}, wishes.limits ?? {})
  const env = merged(meta.env ?? {}, wishes.env ?? {})
  const shape: Shape = {
    ...(image === undefined || image === null ? {} : { image }),
    ...(vault === undefined || vault === DEFAULT_VAULT ? {} : { vault }),
    ...(mounts.length === 0 ? {} : { mounts }),
    ...(dns.length === 0 ? {} : { dns }),
    ...(isEmpty(limits) ? {} : { limits }),
    ...(persistence === 'ephemeral' ? { persistence } : {}),
    ...(knowledgeRw === true ? { knowledgeRw } : {}),
  }
  const { env: _env, ...rest } = withShape(meta, shape)
  return { ...rest, ...(isEmpty(env) ? {} : { env }) }
}

/**
 * Every difference that matters, and when it is in force. Values of variables are never told. Pure.
 * @param running whether the loop's container runs
 */
export function changesOf(before: Changeable, after: Changeable, running: boolean): LoopChange[] {
  const effect: LoopChangeEffect = running ? 'recreate' : 'next-start'
  const [old, now] = [wordsOf(before), wordsOf(after)]
  const shaping = [...new Set([...old.keys(), ...now.keys()])].map((what) => ({
    what,
    from: old.get(what) ?? null,
    to: now.get(what) ?? null,
    effect: what === 'persistence' ? ('next-start' as const) : effect,
  }))
  return [...shaping.filter(({ from, to }) => from !== to), ...envChanges(before.env ?? {}, after.env ?? {})]
}

/** The shape in words, by what they are about. */
function wordsOf(shape: Shape): Map<string, string> {
  const { image, vault = DEFAULT_VAULT, dns = [], persistence = 'persistent', knowledgeRw = false } = shape
  const { memoryBytes, cpus, pids } = shape.limits ?? {}
  return new Map([
    ...optional('image', image),
    ['vault', vault],
    ...(shape.mounts ?? []).map(
      ({ source, target, readOnly }) => [`mount ${target}`, `${source} (${readOnly ? 'ro' : 'rw'})`] as const,
    ),
    ...optional('dns', dns.length === 0 ? undefined : dns.join(', ')),
    ...optional('memory', memoryBytes === undefined ? undefined : `${memoryBytes} bytes`),
    ...optional('cpus', cpus?.toString()),
    ...optional('pids', pids?.toString()),
    ['persistence', persistence],
    ['knowledge', knowledgeRw ? 'rw' : 'ro'],
  ])
}

function optional(what: string, value: string | undefined): (readonly [string, string])[] {
  return value === undefined ? [] : [[what, value]]
}

function envChanges(before: Readonly<Record<string, string>>, after: Readonly<Record<string, string>>): LoopChange[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()
  return names
    .filter((name) => before[name] !== after[name])
    .map((name) => ({
      what: `env ${name}`,
      from: before[name] === undefined ? null : 'set',
      to: after[name] === undefined ? null : 'set',
      effect: 'live',
    }))
}

/** The mounts without those taken away, and with those added; an added one replaces one of its target. */
function mountsOf(mounts: readonly LoopMount[], wishes: Pick<LoopWishes, 'mounts' | 'removeMounts'>): LoopMount[] {
  const added = wishes.mounts ?? []
  const gone = new Set([...(wishes.removeMounts ?? []), ...added.map(({ target }) => target)])
  return [...mounts.filter(({ target }) => !gone.has(target)), ...added]
}

/** Values with others on top; null takes one away. */
function merged<T>(
  values: Readonly<Record<string, T | undefined>>,
  others: Readonly<Record<string, T | null | undefined>>,
): Record<string, T> {
  const all = Object.entries({ ...values, ...others })
  return Object.fromEntries(all.filter((entry): entry is [string, T] => entry[1] !== undefined && entry[1] !== null))
}

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0
}
