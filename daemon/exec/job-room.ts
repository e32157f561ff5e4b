import { constants } from 'node:fs'
import { type FileHandle, lstat, open, opendir, rmdir, unlink } from 'node:fs/promises'
import type { JobStream } from '@loopatd/protocol'
import { errorCode } from '../lib/error-code.ts'
import { openDirectory, pathOf } from '../lib/pinned-directory.ts'

/** Most names in the directory of a job that are looked at; its program makes about a dozen. */
const MAX_NAMES = 1000
/** Codes of errors that say of an entry that it is not what it should be. */
const STRANGE: readonly string[] = ['EACCES', 'EISDIR', 'ELOOP', 'ENOENT', 'ENXIO', 'EPERM']

/** A file of a log. */
export interface Segment {
  /** Of its first byte, in what the job wrote. */
  readonly offset: number
  readonly size: number
}

/** What the directory of a job says. The loop can write to it: any of it may be a lie. */
export interface JobSight {
  readonly session: number | undefined
  readonly exit: { readonly code: number; readonly at: Date } | undefined
  /** Whether nothing is added to the logs any more. */
  readonly isComplete: boolean
  /** Why something of it cannot be what the job's program made. */
  readonly strange: string | undefined
}

/** Where a job's program works. */
export interface JobPlace {
  /** Directory of the loop on the host that is `/loopat/run` inside. */
  readonly run: string
  readonly id: string
}

/** Looks at the directory of a job. @returns undefined when there is none */
export async function lookAtJob(place: JobPlace): Promise<JobSight | undefined> {
  await using directory = await openRoom(place)
  if (directory === undefined) return undefined
  const names = await namesIn(directory)
  if (names === undefined) return { ...sightOf([]), strange: `more than ${MAX_NAMES} entries` }
  const { exitCode, ...sight } = sightOf(names)
  if (exitCode === undefined || sight.strange !== undefined) return { ...sight, exit: undefined }
  const stats = await statOf(directory, `exit.${exitCode}`)
  return stats?.isFile() === true
    ? { ...sight, exit: { code: exitCode, at: stats.ctime } }
    : { ...sight, exit: undefined, strange: 'the record of its end is no file' }
}

/** What names alone say. Names of the job's program are there once. */
export function sightOf(names: readonly string[]): JobSight & { readonly exitCode: number | undefined } {
  const matching = (pattern: RegExp) => names.flatMap((name) => pattern.exec(name)?.[1] ?? [])
  const exits = matching(/^exit\.(.*)$/s)
  const sessions = matching(/^session\.([1-9]\d{0,9})$/)
  const [exit] = exits
  const isCode = exit !== undefined && /^(0|[1-9]\d{0,2})$/.test(exit) && Number(exit) <= 255
  const strange = exits.length > 1 || (exit !== undefined && !isCode) ? 'the record of its end is nonsense' : undefined
  return {
    session: sessions.length === 1 ? Number(sessions[0]) : undefined,
    exit: undefined,
    exitCode: strange === undefined && exit !== undefined ? Number(exit) : undefined,
    isComplete: names.includes('complete'),
    strange,
  }
}

/** What there is of a log. */
export interface LogSight {
  /** Files, oldest first, without holes. */
  readonly segments: readonly Segment[]
  /** Whether there was no room for what came after them. */
  readonly isCut: boolean
}

/** Looks at a log. @returns undefined when there is no directory of the job, or a strange one */
export async function lookAtLog(place: JobPlace, stream: JobStream): Promise<LogSight | undefined> {
  await using directory = await openRoom(place)
  const names = directory === undefined ? undefined : await namesIn(directory)
  if (directory === undefined || names === undefined) return undefined
  const segments: Segment[] = []
  for (const offset of offsetsIn(names, stream)) {
    const stats = await statOf(directory, `${stream}.${offset}`)
    if (stats?.isFile() === true) segments.push({ offset, size: stats.size })
  }
  return { segments: joined(segments), isCut: names.includes(`${stream}.cut`) }
}

/** Offsets of the files of a log, in order. */
export function offsetsIn(names: readonly string[], stream: JobStream): number[] {
  const pattern = new RegExp(`^${stream}\\.(0|[1-9]\\d{0,14})$`)
  return names
    .flatMap((name) => pattern.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)
}

/** The last files of which each begins where the one before it ends. */
export function joined(segments: readonly Segment[]): Segment[] {
  const whole: Segment[] = []
  for (const segment of segments) {
    const before = whole.at(-1)
    if (before !== undefined && before.offset + before.size !== segment.offset) whole.length = 0
    if (Number.isSafeInteger(segment.offset + segment.size)) whole.push(segment)
  }
  return whole
}

/**
 * Reads a part of one file of a log.
 * @returns undefined when it is not there, or is no plain file
 */
export async function readSegment(
  place: JobPlace,
  { stream, offset }: { readonly stream: JobStream; readonly offset: number },
  { position, length }: { readonly position: number; readonly length: number },
): Promise<Buffer | undefined> {
  await using directory = await openRoom(place)
  if (directory === undefined) return undefined
  const name = `${stream}.${offset}`
  try {
    // Looked at first: opening a device may do something. Looked at again afterwards, for it may have changed.
    if ((await statOf(directory, name))?.isFile() !== true) return undefined
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY
    await using file = await open(`${pathOf(directory)}/${name}`, flags)
    if (!(await file.stat()).isFile()) return undefined
    const buffer = Buffer.alloc(length)
    const { bytesRead } = await file.read(buffer, 0, length, position)
    return buffer.subarray(0, bytesRead)
  } catch (error) {
    if (STRANGE.includes(errorCode(error) ?? '')) return undefined
    throw error
  }
}

/**
 * Removes the directory of a job, as far as it holds what the job's program made: whatever else the loop has put there
 * stays, until the loop is removed.
 * @returns whether it is gone
 */
export async function removeRoom(place: JobPlace): Promise<boolean> {
  const isEmpty = await emptyRoom(place)
  await using above = await openDirectory(place.run, ['job'])
  if (above === undefined) return true
  return isEmpty && (await isDone(rmdir(`${pathOf(above)}/${place.id}`)))
}

async function emptyRoom(place: JobPlace): Promise<boolean> {
  await using directory = await openRoom(place)
  if (directory === undefined) return true
  for (const name of (await namesIn(directory)) ?? []) {
    if (!(await isDone(unlink(`${pathOf(directory)}/${name}`)))) return false
  }
  return true
}

async function isDone(removal: Promise<void>): Promise<boolean> {
  try {
    await removal
    return true
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return true
    if (errorCode(error) === undefined) throw error
    return false
  }
}

function openRoom({ run, id }: JobPlace): Promise<FileHandle | undefined> {
  return openDirectory(run, ['job', id])
}

/** @returns undefined when there are too many */
async function namesIn(directory: FileHandle): Promise<string[] | undefined> {
  const names: string[] = []
  for await (const { name } of await opendir(pathOf(directory))) {
    if (names.length === MAX_NAMES) return undefined
    names.push(name)
  }
  return names
}

async function statOf(directory: FileHandle, name: string) {
  try {
    return await lstat(`${pathOf(directory)}/${name}`)
  } catch (error) {
    if (STRANGE.includes(errorCode(error) ?? '')) return undefined
    throw error
  }
}
