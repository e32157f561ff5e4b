import type { BindMount } from '../engine/engine.ts'
import { HOME, workdirInside } from './inside.ts'
import type { VaultMount } from './loop-options.ts'
import { isWithin, whyUnmountable } from './mount-path.ts'

/** Who wants a mount. */
export type MountOrigin = 'built-in' | 'operator' | 'loop' | 'vault'

/** A mount of the container. */
export interface PlannedMount extends BindMount {
  /** Row of table C-2. */
  readonly row: number
  readonly origin: MountOrigin
  readonly kind: 'directory' | 'file'
}

/** A mount that was wanted and is left out. */
export interface SkippedMount {
  /** As it was asked for. */
  readonly source: string
  readonly target: string
  readonly origin: MountOrigin
  /** Why, as the end of a sentence. */
  readonly why: string
}

/** What came of looking at the source of a wanted mount. */
export type MountSource =
  | { readonly kind: 'directory' | 'file'; readonly path: string }
  | { readonly kind: 'refused'; readonly why: string }

/** A mount that the operator or the creator of a loop asked for. */
export interface WantedMount {
  /** As it was asked for. */
  readonly source: string
  readonly target: string
  readonly readOnly: boolean
  /** Undefined when the target is not acceptable, too. */
  readonly found: MountSource
}

/** All that the mounts of a loop depend on. */
export interface MountFacts {
  readonly id: string
  readonly paths: { readonly directory: string; readonly workdir: string; readonly home: string; readonly run: string }
  /** Control directory of the loop on the host. */
  readonly control: string
  /** Mirrors whose objects the loop's clones borrow. */
  readonly mirrors: readonly { readonly name: string; readonly path: string }[]
  /** Names of {@link CONTEXT_ROWS} whose directory exists. */
  readonly present: ReadonlySet<string>
  readonly knowledgeRw: boolean
  /** The other loops, when they are wanted. */
  readonly others: readonly { readonly id: string; readonly workdir: string }[]
  readonly operator: readonly WantedMount[]
  readonly loop: readonly WantedMount[]
  readonly vault: readonly VaultMount[]
}

/** The mounts of a container, and those left out. */
export interface MountPlan {
  /** What lies in another one comes after it. */
  readonly mounts: readonly PlannedMount[]
  readonly skipped: readonly SkippedMount[]
}

/** Rows of table C-2 that are there when their directory is: name, below the loop's directory, target and mode. */
export const CONTEXT_ROWS: readonly {
  readonly row: number
  readonly name: string
  readonly target: (id: string) => string
  readonly readOnly: (facts: Pick<MountFacts, 'knowledgeRw'>) => boolean
}[] = [
  { row: 6, name: '.claude', target: (id) => `/loopat/loop/${id}/.claude`, readOnly: () => false },
  {
    row: 7,
    name: 'context/knowledge',
    target: () => '/loopat/context/knowledge',
    readOnly: ({ knowledgeRw }) => !knowledgeRw,
  },
  { row: 8, name: 'context/notes', target: () => '/loopat/context/notes', readOnly: () => false },
  { row: 9, name: 'context/personal', target: () => '/loopat/context/personal', readOnly: () => false },
  { row: 10, name: 'context/chat', target: () => '/loopat/context/chat', readOnly: () => true },
]

/** Row of the other loops' workdirs; they come and go, so it is not part of the hash. */
export const OTHER_LOOPS_ROW = 11

/** Highest first: who gets a target that several want (rule C-4). */
const PRECEDENCE: readonly MountOrigin[] = ['vault', 'loop', 'operator', 'built-in']

/** Decides which mounts the container of a loop has (table C-2). Pure. */
export function planMounts(facts: MountFacts): MountPlan {
  const skipped: SkippedMount[] = []
  const wanted = [
    ...builtIn(facts),
    ...asked(facts.operator, 'operator', skipped),
    ...asked(facts.loop, 'loop', skipped),
    ...ofVault(facts.vault, skipped),
  ]
  const taken = new Map<string, PlannedMount>()
  for (const origin of PRECEDENCE) {
    for (const mount of wanted.filter((candidate) => candidate.origin === origin)) {
      const winner = taken.get(mount.target)
      if (winner === undefined) taken.set(mount.target, mount)
      else skipped.push(skip(mount, `${mount.target} is taken by the mount of ${OWNER[winner.origin]}`))
    }
  }
  const mounts = wanted.filter((mount) => taken.get(mount.target) === mount)
  return { mounts: mounts.sort((a, b) => depthOf(a.target) - depthOf(b.target)), skipped }
}

/** The mount of a plan that a path inside lies in, itself excluded; the innermost one. */
export function holderOf(path: string, mounts: readonly PlannedMount[]): PlannedMount | undefined {
  return mounts
    .filter(({ target }) => target !== path && isWithin(path, target))
    .sort((a, b) => b.target.length - a.target.length)[0]
}

const OWNER: Readonly<Record<MountOrigin, string>> = {
  'built-in': 'the daemon',
  operator: 'the configuration',
  loop: 'the loop',
  vault: 'the vault',
}

function builtIn(facts: MountFacts): PlannedMount[] {
  const { id, paths, control, mirrors, others } = facts
  const rows: [row: number, source: string, target: string, readOnly: boolean][] = [
    [1, paths.home, HOME, false],
    [2, paths.workdir, workdirInside(id), false],
    [3, paths.run, '/loopat/run', false],
    [4, control, '/loopat/control', true],
    ...mirrors.map(({ name, path }): [number, string, string, boolean] => [
      5,
      path,
      `/loopat/mirrors/${name}.git`,
      true,
    ]),
    ...CONTEXT_ROWS.filter(({ name }) => facts.present.has(name)).map(
      ({ row, name, target, readOnly }): [number, string, string, boolean] => [
        row,
        `${paths.directory}/${name}`,
        target(id),
        readOnly(facts),
      ],
    ),
    ...others.map((other): [number, string, string, boolean] => [
      OTHER_LOOPS_ROW,
      other.workdir,
      `/loopat/loops/${other.id}/workdir`,
      true,
    ]),
  ]
  return rows.map(([row, source, target, readOnly]) => ({
    row,
    source,
    target,
    readOnly,
    origin: 'built-in',
    kind: 'directory',
  }))
}

function asked(wanted: readonly WantedMount[], origin: MountOrigin, skipped: SkippedMount[]): PlannedMount[] {
  return wanted.flatMap(({ source, target, readOnly, found }) => {
    if (found.kind !== 'refused') return [{ row: 12, source: found.path, target, readOnly, origin, kind: found.kind }]
    skipped.push({ source, target, origin, why: found.why })
    return []
  })
}

function ofVault(mounts: readonly VaultMount[], skipped: SkippedMount[]): PlannedMount[] {
  return mounts.flatMap(({ name, source, kind }) => {
    const target = `${HOME}/${name}`
    const why = whyUnmountable(target) ?? whyUnmountable(source)
    if (why === undefined) return [{ row: 13, source, target, readOnly: false, origin: 'vault', kind }]
    skipped.push({ source, target, origin: 'vault', why })
    return []
  })
}

function skip({ source, target, origin }: PlannedMount, why: string): SkippedMount {
  return { source, target, origin, why }
}

function depthOf(path: string): number {
  return path.split('/').length
}
