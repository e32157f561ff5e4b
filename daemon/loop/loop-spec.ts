import { createHash } from 'node:crypto'
import type { BindMount, ContainerLimits, ContainerSpec, Labels, NetworkSpec } from '../engine/engine.ts'
import { HOME, workdirInside } from './inside.ts'
import { LAUNCHER } from './launcher.ts'
import { OTHER_LOOPS_ROW, type PlannedMount } from './loop-mount.ts'
import type { LoopImage } from './loop-options.ts'

/** Labels of containers and networks; everything of ours is found by them. */
export const LABEL = {
  loop: 'loopat.loop-id',
  workspace: 'loopat.workspace',
  hash: 'loopat.config-hash',
  baseImage: 'loopat.base-image-id',
  /** {@link specText} of the container, from which it is said later what changed. */
  spec: 'loopat.spec',
} as const

/** Changes when the meaning of the hash does; then every loop is made anew at its next start. */
const HASH_VERSION = 'loopat-spec-1'
/** The image's user `loopat` (rule C-6). */
const SANDBOX_ID = 2000
const SANDBOX_USER = 'loopat'
/** Seconds between TERM and KILL (appendix A). */
const STOP_TIMEOUT_SECONDS = 5

/** What was chosen for a loop and is not seen in its container otherwise. Absent is the default. */
export interface SpecChoices {
  /** Set when it is not the user of the workspace. */
  readonly user?: string
  /** Set when it is not the vault `default` (rule C-12). */
  readonly vault?: string
  readonly knowledgeRw?: true
  readonly mountAllLoops?: true
}

/** All that the container of a loop depends on, apart from its image. */
export interface SpecInput {
  readonly id: string
  readonly workspace: string
  readonly mounts: readonly PlannedMount[]
  readonly choices?: SpecChoices
  readonly dns?: readonly string[]
  readonly limits?: ContainerLimits
}

/** A container spec before its image is known. Hash and comparison need no image. */
export interface SpecDraft extends Omit<ContainerSpec, 'image' | 'labels' | 'mounts'> {
  readonly mounts: readonly PlannedMount[]
  readonly choices: SpecChoices
}

/** Name of the loop's container (rule C-7). */
export function containerName(workspace: string, id: string): string {
  return `loopat-${workspace}-${id}`
}

/** Name of the loop's own network (rule C-15a). */
function networkName(workspace: string, id: string): string {
  return `loopat-${workspace}-${id.slice(0, 8)}`
}

/**
 * The loop's own network. With name servers of its own a loop is in another one, that has none: containers would ask
 * that first.
 */
export function networkOf(
  { id, dns = [] }: { id: string; dns?: readonly string[] | undefined },
  workspace: string,
): NetworkSpec {
  const resolves = dns.length === 0
  const name = `${networkName(workspace, id)}${resolves ? '' : '-dns'}`
  return { name, labels: ownerLabels(workspace, id), resolves }
}

/** Labels that say whose a container or network is. */
export function ownerLabels(workspace: string, id: string): Labels {
  return { [LABEL.loop]: id, [LABEL.workspace]: workspace }
}

/** Plain variables baked into the container and given to every command (rule C-8). */
export function baseEnv(id: string): Readonly<Record<string, string>> {
  return { HOME, LOOPAT_LOOP_ID: id }
}

/** Describes the container of a loop. Pure: equal input gives an equal draft. */
export function draftSpec(input: SpecInput): SpecDraft {
  const { id, workspace, mounts, choices = {}, dns = [], limits = {} } = input
  const hostname = `loop-${id.slice(0, 8)}`
  return {
    name: containerName(workspace, id),
    hostname,
    command: LAUNCHER,
    workdir: workdirInside(id),
    env: baseEnv(id),
    mounts,
    choices,
    dns,
    limits,
    keepId: { uid: SANDBOX_ID, gid: SANDBOX_ID },
    // Programs such as ssh ask the list of users for the home, not the environment (D1).
    account: { name: SANDBOX_USER, home: HOME },
    init: true,
    // Names resolve by alias, not by hostname. Which of its networks a loop is in follows from its name servers.
    network: { kind: 'named', name: networkName(workspace, id), aliases: [hostname] },
    stopTimeoutSeconds: STOP_TIMEOUT_SECONDS,
  }
}

/** First 16 hex of the SHA-256 over {@link hashInput}. */
export function hashSpec(draft: SpecDraft): string {
  return createHash('sha256').update(hashInput(draft)).digest('hex').slice(0, 16)
}

/** What is hashed: the version of its meaning, and {@link specText}. */
export function hashInput(draft: SpecDraft): string {
  return `${HASH_VERSION}\n${specText(draft)}`
}

/**
 * Everything in the draft that takes a new container when it changes, as JSON, bytewise sorted (rules C-11, C-12). Out
 * are env, because callers rightly differ in it, image and labels, which are compared by themselves, and the workdirs of
 * other loops, which come and go, and the account, which is what the image should have had. What was not asked for is not mentioned: what earlier versions made stays as it is.
 */
export function specText(draft: SpecDraft): string {
  const { env: _env, account: _account, mounts, choices, dns, limits, ...rest } = draft
  const counted = mounts
    .filter(({ row }) => row !== OTHER_LOOPS_ROW)
    .map(toBind)
    .sort((a, b) => compareBytes(a.target, b.target))
  return canonical({
    ...rest,
    ...choices,
    ...(dns.length === 0 ? {} : { dns }),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
    mounts: counted,
  })
}

/** Completes a draft with the image and with the labels by which it is found and compared later. */
export function completeSpec(
  draft: SpecDraft,
  owner: { id: string; workspace: string },
  image: LoopImage,
): ContainerSpec {
  const { choices: _choices, mounts, ...rest } = draft
  const { name } = networkOf({ id: owner.id, dns: draft.dns }, owner.workspace)
  return {
    ...rest,
    network: rest.network.kind === 'named' ? { ...rest.network, name } : rest.network,
    mounts: mounts.map(toBind),
    image: image.tag,
    labels: {
      ...ownerLabels(owner.workspace, owner.id),
      [LABEL.hash]: hashSpec(draft),
      [LABEL.baseImage]: image.id,
      [LABEL.spec]: specText(draft),
    },
  }
}

function toBind({ source, target, readOnly }: BindMount): BindMount {
  return { source, target, readOnly }
}

/** JSON with the keys of every object sorted bytewise. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => (isPlainObject(part) ? sortKeys(part) : part))
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function sortKeys(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).sort(([a], [b]) => compareBytes(a, b)))
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
