/** How the contract describes a method or a notification. Everything else in this package is made of these two. */
import { z } from 'zod'
import type { ErrorName } from './error.ts'

/** A request that a client may send. */
export interface Method<P extends z.ZodType = z.ZodType, R extends z.ZodType = z.ZodType> {
  /** `area/verb`. */
  readonly method: string
  /** One line for lists. */
  readonly summary: string
  /** What it does, its side effects, and what happens when it is cancelled. */
  readonly description: string
  /** Always an object by name; unknown keys are refused. */
  readonly params: P
  readonly result: R
  /** Catalogue errors beyond those every method may answer with ({@link COMMON_ERRORS}). */
  readonly errors: readonly ErrorName[]
}

/** A message from the daemon that expects no answer. */
export interface Notification<P extends z.ZodType = z.ZodType> {
  readonly notification: string
  readonly summary: string
  readonly description: string
  readonly params: P
}

/** Errors that every method may answer with. */
export const COMMON_ERRORS = [
  'cancelled',
  'daemon_stopping',
  'internal',
  'invalid_params',
  'not_initialized',
  'too_many_requests',
] as const satisfies readonly ErrorName[]

/** Describes a method; only there to infer the two schema types. */
export function defineMethod<P extends z.ZodType, R extends z.ZodType>(method: Method<P, R>): Method<P, R> {
  return method
}

/** Describes a notification; only there to infer the schema type. */
export function defineNotification<P extends z.ZodType>(notification: Notification<P>): Notification<P> {
  return notification
}

/** Names the progress of one request; chosen by the client, unique among its requests in flight. */
export const ProgressToken = z
  .union([z.string().min(1).max(64), z.int()])
  .describe('When present, progress of this request is sent as `$/progress` notifications that carry this token.')

/** The value of a `$/progress` notification. */
export const Progress = z
  .strictObject({
    message: z.string().describe('One line for people.'),
    step: z.int().positive().optional().describe('Number of the step that has begun, 1-based.'),
    total: z.int().positive().optional().describe('Number of steps, when it is known.'),
  })
  .describe('What a long request is doing now.')
export type Progress = z.infer<typeof Progress>

/** The result of a method that has nothing to say. */
export const Nothing = z.strictObject({}).describe('Nothing.')
