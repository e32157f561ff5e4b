import { DEFAULT_VAULT } from '@loopatd/protocol'
import { z } from 'zod'

/** What is said when it cannot be told what changed: the container comes from a version that noted nothing. */
const UNTOLD = 'its specification changed'

/** The part of a spec text that has words of its own. The rest is compared as it is. */
const specSchema = z.looseObject({
  mounts: z.array(z.object({ source: z.string(), target: z.string(), readOnly: z.boolean() })),
  user: z.string().optional(),
  vault: z.string().default(DEFAULT_VAULT),
  knowledgeRw: z.boolean().default(false),
  mountAllLoops: z.boolean().default(false),
  dns: z.array(z.string()).default([]),
  limits: z.record(z.string(), z.number()).default({}),
})
type Spec = z.output<typeof specSchema>

const LIMIT_NAMES: Readonly<Record<string, string>> = { memoryBytes: 'memory', cpus: 'processors', pids: 'processes' }

/**
 * Says in words what makes two specs of a loop differ. Pure.
 * @param before the spec text on the container (see `specText`); undefined when it has none
 * @param after the spec text that is wanted
 */
export function describeDrift(before: string | undefined, after: string): string {
  const [old, now] = [parseSpec(before), parseSpec(after)]
  if (old === undefined || now === undefined) return UNTOLD
  const words = [
    ...valueChange('the user', old.user, now.user),
    ...valueChange('the vault', old.vault, now.vault),
    ...flagChange('the knowledge', old.knowledgeRw, now.knowledgeRw, ['is writable now', 'is read-only now']),
    ...flagChange('the other loops', old.mountAllLoops, now.mountAllLoops, ['are mounted now', 'are not mounted now']),
    ...mountChanges(old, now),
    ...valueChange('the name servers', old.dns.join(' ') || undefined, now.dns.join(' ') || undefined),
    ...limitChanges(old, now),
    ...otherChanges(old, now),
  ]
  return words.length === 0 ? UNTOLD : words.join(', ')
}

/** Labels of a container are what its creator wrote; a text that is none is as good as missing. */
function parseSpec(text: string | undefined): Spec | undefined {
  try {
    const parsed = specSchema.safeParse(JSON.parse(text ?? ''))
    return parsed.success ? parsed.data : undefined
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return undefined
  }
}

function valueChange(what: string, old: unknown, now: unknown): string[] {
  if (old === now) return []
  return [`${what} changed from ${old ?? 'the usual'} to ${now ?? 'the usual'}`]
}

function flagChange(what: string, old: boolean, now: boolean, [on, off]: readonly [string, string]): string[] {
  if (old === now) return []
  return [`${what} ${now ? on : off}`]
}

function mountChanges({ mounts: old }: Spec, { mounts: now }: Spec): string[] {
  const gone = old.filter(({ target }) => !now.some((mount) => mount.target === target))
  const changes = now.flatMap(({ target, source, readOnly }) => {
    const before = old.find((mount) => mount.target === target)
    if (before === undefined) return [`the mount ${target} was added`]
    if (before.source !== source) return [`the mount ${target} shows another place`]
    return flagChange(`the mount ${target}`, before.readOnly, readOnly, ['is read-only now', 'is writable now'])
  })
  return [...changes, ...gone.map(({ target }) => `the mount ${target} was removed`)]
}

function limitChanges({ limits: old }: Spec, { limits: now }: Spec): string[] {
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])].sort()
  const told = (value: number | undefined) => value ?? 'none'
  return names
    .filter((name) => old[name] !== now[name])
    .map((name) => `the limit of ${LIMIT_NAMES[name] ?? name} changed from ${told(old[name])} to ${told(now[name])}`)
}

/** What only a new version of the daemon changes. */
function otherChanges(old: Spec, now: Spec): string[] {
  const keys = [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((key) => !(key in specSchema.shape))
  const changed = keys.filter((key) => JSON.stringify(old[key]) !== JSON.stringify(now[key])).sort()
  return changed.length === 0 ? [] : [`what loopatd makes of it changed (${changed.join(', ')})`]
}
