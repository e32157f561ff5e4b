/** Names around vaults (rule W-6). Each becomes part of a path or of an environment, and is checked at the edge. */
import { z } from 'zod'

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
