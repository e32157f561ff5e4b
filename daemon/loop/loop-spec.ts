import { createHash } from 'node:crypto'
import type { BindMount, ContainerSpec, Labels } from '../engine/engine.ts'
import { LAUNCHER } from './launcher.ts'
import type { LoopImage } from './loop-options.ts'
import type { LoopPaths } from './loop-path.ts'

/** Labels of containers and networks; everything of ours is found by them. */
export const LABEL = {
  loop: 'loopat.loop-id',
  workspace: 'loopat.workspace',
  hash: 'loopat.config-hash',
  baseImage: 'loopat.base-image-id',
} as const

/** Home inside; the image's passwd says the same (D1). */
export const HOME = '/home/loopat'

/** Changes when the meaning of the hash does; then every loop is made anew at its next start. */
const HASH_VERSION = 'loopat-spec-1'
/** The image's user `loopat` (rule C-6). */
const SANDBOX_ID = 2000
/** Seconds between TERM and KILL (appendix A). */
const STOP_TIMEOUT_SECONDS = 5

/** All that the container of a loop depends on, apart from its image. */
export interface SpecInput {
  readonly id: string
  readonly workspace: string
  readonly paths: Pick<LoopPaths, 'workdir' | 'home' | 'run'>
  /** Control directory of the loop on the host. */
  readonly control: string
  /** Mirrors whose objects the loop's clones borrow. */
  readonly mirrors: readonly { readonly name: string; readonly path: string }[]
}

/** A container spec before its image is known. Hash and comparison need no image. */
export type SpecDraft = Omit<ContainerSpec, 'image' | 'labels' | 'dns' | 'limits'>

/** Name of the loop's container (rule C-7). */
export function containerName(workspace: string, id: string): string {
  return `loopat-${workspace}-${id}`
}

/** Name of the loop's own network (rule C-15a). */
export function networkName(workspace: string, id: string): string {
  return `loopat-${workspace}-${id.slice(0, 8)}`
}

/** Labels that say whose a container or network is. */
export function ownerLabels(workspace: string, id: string): Labels {
  return { [LABEL.loop]: id, [LABEL.workspace]: workspace }
}

/** The workdir inside (rule W-5). */
export function workdirInside(id: string): string {
  return `/loopat/loop/${id}/workdir`
}

/** Plain variables baked into the container and given to every command (rule C-8). */
export function baseEnv(id: string): Readonly<Record<string, string>> {
  return { HOME, LOOPAT_LOOP_ID: id }
}

/** The mounts, in the order of table C-2; later rows may lie inside earlier ones. */
function mountsOf({ id, paths, control, mirrors }: SpecInput): BindMount[] {
  return [
    { source: paths.home, target: HOME, readOnly: false },
    { source: paths.workdir, target: workdirInside(id), readOnly: false },
    { source: paths.run, target: '/loopat/run', readOnly: false },
    { source: control, target: '/loopat/control', readOnly: true },
    ...mirrors.map(({ name, path }) => ({ source: path, target: `/loopat/mirrors/${name}.git`, readOnly: true })),
  ]
}

/** Describes the container of a loop. Pure: equal input gives an equal draft. */
export function draftSpec(input: SpecInput): SpecDraft {
  const { id, workspace } = input
  const hostname = `loop-${id.slice(0, 8)}`
  return {
    name: containerName(workspace, id),
    hostname,
    command: LAUNCHER,
    workdir: workdirInside(id),
    env: baseEnv(id),
    mounts: mountsOf(input),
    keepId: { uid: SANDBOX_ID, gid: SANDBOX_ID },
    init: true,
    // Names resolve by alias, not by hostname.
    network: { kind: 'named', name: networkName(workspace, id), aliases: [hostname] },
    stopTimeoutSeconds: STOP_TIMEOUT_SECONDS,
  }
}

/** First 16 hex of the SHA-256 over {@link hashInput}. */
export function hashSpec(draft: SpecDraft): string {
  return createHash('sha256').update(hashInput(draft)).digest('hex').slice(0, 16)
}

/**
 * Everything in the draft but its environment, bytewise sorted (rules C-11, C-12). Out are env, because callers rightly
 * differ in it, and image and labels, which are compared by themselves.
 */
export function hashInput(draft: SpecDraft): string {
  const { env: _env, mounts, ...rest } = draft
  const sorted = [...mounts].sort((a, b) => compareBytes(a.target, b.target))
  return `${HASH_VERSION}\n${canonical({ ...rest, mounts: sorted })}`
}

/** Completes a draft with the image and with the labels by which it is found and compared later. */
export function completeSpec(
  draft: SpecDraft,
  owner: { id: string; workspace: string },
  image: LoopImage,
): ContainerSpec {
  return {
    ...draft,
    dns: [],
    limits: {},
    image: image.tag,
    labels: {
      ...ownerLabels(owner.workspace, owner.id),
      [LABEL.hash]: hashSpec(draft),
      [LABEL.baseImage]: image.id,
    },
  }
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
