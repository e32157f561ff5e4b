/**
 * Vaults: bundles of credentials, of which a loop uses exactly one. The variables of a vault are in the environment of
 * every command, and its files in the home. Values go in and never come out: no method answers with one.
 *
 * Names become parts of paths and environments, and are checked at the edge.
 */
import { z } from 'zod'
import { defineMethod, Nothing } from './method.ts'

export const UserId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9_-]{0,31}$/, 'must be 1 to 32 of a-z, 0-9, "_" and "-", and begin with a letter or digit')
  .describe('Persona that a loop belongs to; names its directory below `personal/`.')

export const VaultName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/,
    'must be 1 to 64 of letters, digits, "_", "." and "-", and begin with a letter or digit',
  )
  .describe('Bundle of credentials of one user.')

export const EnvName = z
  .string()
  .max(255, 'must have at most 255 characters')
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be a variable name')
  .describe('Name of an environment variable.')

/** The vault of a loop that names none. */
export const DEFAULT_VAULT = 'default'

/** Largest value of a variable, in bytes: with its name it is the longest that the kernel takes (128 KiB). */
export const MAX_ENV_VALUE_BYTES = 130_048
/** Largest environment of a vault, names included, in bytes. */
export const MAX_ENV_BYTES = 1_048_576

/** Largest file that can be put into a vault over the socket, in bytes. */
export const MAX_HOME_FILE_BYTES = 1_048_576

const noNul = (value: string) => !value.includes('\0')

export const EnvValue = z
  .string()
  .refine(noNul, 'must not contain NUL')
  .refine((value) => Buffer.byteLength(value) <= MAX_ENV_VALUE_BYTES, `must have at most ${MAX_ENV_VALUE_BYTES} bytes`)

/** Segments that would lead out, or that loops could not mount. */
const badSegment = (segment: string) => segment === '' || segment === '.' || segment === '..'

export const HomePath = z
  .string()
  .min(1)
  .max(1024)
  .refine((path) => !path.split('/').some(badSegment), 'must be a path below the home, without "." and ".."')
  .refine((path) => !/[:,]|\p{Cc}/u.test(path), 'must not contain ":", "," or control characters')
  .refine((path) => !path.startsWith('.#'), 'must not begin with ".#"')
  .describe('Path below the home of loops, such as `.ssh/id_ed25519`.')

/** A vault as it is shown: names and paths, never values. */
export const VaultInfo = z.strictObject({
  name: z.string(),
  path: z.string().describe('Its directory on the host.'),
  env: z.array(z.string()).describe('Names of the variables that loops get, sorted.'),
  home: z
    .array(z.strictObject({ name: z.string(), kind: z.enum(['file', 'directory']) }))
    .describe('What appears in the home of loops, sorted by name.'),
  loops: z.array(z.string()).describe('Names of the loops that use it, archived ones included.'),
  warnings: z
    .array(
      z.strictObject({
        entry: z.string().describe('Path in the vault, such as `envs/TOKEN`.'),
        target: z.string().nullable().describe('Where it leads, when it is a link and that is known.'),
        why: z.string().describe('Why it is not delivered, as the end of a sentence that begins with the entry.'),
      }),
    )
    .describe('Entries that are not delivered.'),
})
export type VaultInfo = z.infer<typeof VaultInfo>

const one = { vault: VaultName }
const entry = {
  ...one,
  env: EnvName.optional().describe('Name of a variable.'),
  home: HomePath.optional().describe('A file below the home.'),
}
const isOneEntry = ({ env, home }: { env?: string | undefined; home?: string | undefined }) =>
  (env === undefined) !== (home === undefined)
const ONE_ENTRY = 'must name either a variable, `env`, or a file, `home`'

export const vaultCreate = defineMethod({
  method: 'vault/create',
  summary: 'Create a vault.',
  description: 'It is empty. Creating a vault that exists does nothing.',
  params: z.strictObject(one),
  result: z.strictObject({ created: z.boolean().describe('False when it was there.') }),
  errors: ['storage_failed', 'vault_invalid'],
})

export const vaultList = defineMethod({
  method: 'vault/list',
  summary: 'List vaults, sorted by name.',
  description:
    'Those of the user of the daemon. A loop that names no vault uses `default`, which is empty while it does not exist.',
  params: z.strictObject({}),
  result: z.strictObject({ vaults: z.array(VaultInfo) }),
  errors: [],
})

export const vaultRemove = defineMethod({
  method: 'vault/remove',
  summary: 'Remove a vault with everything in it.',
  description:
    'Refused with `vault_in_use` while loops use it; the details name them. Removed by force, loops that use it do not ' +
    'start until it is there again, but for `default`, which is then empty.',
  params: z.strictObject({ ...one, force: z.boolean().default(false).describe('Remove it although loops use it.') }),
  result: Nothing,
  errors: ['engine_failed', 'engine_unavailable', 'storage_failed', 'vault_in_use', 'vault_invalid', 'vault_not_found'],
})

export const vaultSet = defineMethod({
  method: 'vault/set',
  summary: 'Put a variable or a file into a vault.',
  description:
    'What was there is replaced, in one step. A variable counts from the next command in a loop. A file is seen from ' +
    'inside at once when it lies in a directory of the home that the vault had when the loop started, and else from ' +
    'the next start. The vault `default` is created when it is missing; others must exist.',
  params: z
    .strictObject({
      ...entry,
      value: EnvValue.optional().describe('Value of the variable; line ends behind it are not part of it.'),
      content: z
        .base64()
        .refine(
          (text) => Buffer.byteLength(text, 'base64') <= MAX_HOME_FILE_BYTES,
          `must have at most ${MAX_HOME_FILE_BYTES} bytes`,
        )
        .optional()
        .describe('Bytes of the file, in base64.'),
    })
    .refine(isOneEntry, ONE_ENTRY)
    .refine(
      ({ env, value }) => (env === undefined) === (value === undefined),
      'must have a `value` for a variable only',
    )
    .refine(
      ({ home, content }) => (home === undefined) === (content === undefined),
      'must have `content` for a file only',
    ),
  result: z.strictObject({ replaced: z.boolean().describe('Whether there was something of this name.') }),
  errors: ['storage_failed', 'vault_invalid', 'vault_not_found'],
})

export const vaultShow = defineMethod({
  method: 'vault/show',
  summary: 'Show what is in a vault, without values.',
  description: 'Also tells what of it is not delivered, and why. A `default` that does not exist is shown as empty.',
  params: z.strictObject(one),
  result: z.strictObject({ vault: VaultInfo }),
  errors: ['vault_invalid', 'vault_not_found'],
})

export const vaultUnset = defineMethod({
  method: 'vault/unset',
  summary: 'Take a variable or a file out of a vault.',
  description: 'Also an empty directory below the home. What is not there is taken out already.',
  params: z.strictObject(entry).refine(isOneEntry, ONE_ENTRY),
  result: z.strictObject({ removed: z.boolean().describe('False when there was nothing to take out.') }),
  errors: ['storage_failed', 'vault_invalid', 'vault_not_found'],
})
