/** The sandbox image of the workspace. */
import { z } from 'zod'
import { EventCursor } from './event.ts'
import { defineMethod, defineNotification, Progress, ProgressToken } from './method.ts'

/** A name that means the same to every podman, whatever its default registry. */
export const ImageName = z
  .string()
  .max(255)
  .regex(
    /^[a-z0-9]+(?:[._-][a-z0-9]+)*(?::\d+)?(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})?$/,
    'must be a fully qualified image name such as "registry.example/debian:bookworm"',
  )

export const ImageInfo = z.strictObject({
  tag: z.string().describe('Fully qualified name of the image that loops of this workspace use now.'),
  source: z
    .enum(['built', 'named'])
    .describe('`built` from the shipped recipe, or `named` by `image.name` of the configuration.'),
  base: z.string().nullable().describe('What it is based on, for people; null for a named image.'),
  present: z.boolean(),
  building: z.boolean().describe('Whether it is being made right now.'),
  id: z.string().nullable().describe('Plain hex id, when it is present.'),
  createdAt: z.iso.datetime({ offset: true }).nullable(),
  sizeBytes: z.int().nullable(),
})
export type ImageInfo = z.infer<typeof ImageInfo>

export const imageBuild = defineMethod({
  method: 'image/build',
  summary: 'Make sure that the sandbox image exists.',
  description:
    'Pulls or bootstraps the base and builds the image when it is missing. All who ask at the same time share one build ' +
    'and its progress; it is cancelled when the last of them goes away. A failed or cancelled build leaves nothing.',
  params: z.strictObject({
    rebuild: z.boolean().default(false).describe('Build even when the image is present, from a fresh base.'),
    progressToken: ProgressToken.optional(),
  }),
  result: ImageInfo,
  errors: ['connection_lost', 'engine_failed', 'engine_unavailable', 'image_build_failed', 'image_unavailable'],
})

export const imageStatus = defineMethod({
  method: 'image/status',
  summary: 'Show the sandbox image.',
  description: 'Has no side effect.',
  params: z.strictObject({}),
  result: ImageInfo,
  errors: ['engine_failed', 'engine_unavailable'],
})

export const imageProgress = defineNotification({
  notification: 'image/progress',
  summary: 'A build of the sandbox image made progress or ended.',
  description: 'Sent to every subscription that asked for it, whoever asked for the build.',
  params: z.strictObject({
    subscription: z.string(),
    cursor: EventCursor,
    tag: z.string(),
    state: z.enum(['running', 'done', 'failed']),
    progress: Progress,
  }),
})
