import { UserId } from '@loopatd/protocol'
import { z } from 'zod'

/** A user name of the host as earlier versions stored it: one path component, and not hidden. */
const LOGIN_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}$/

/**
 * The user id of whoever has this name on the host (rule W-6): in lower case, everything else replaced by `-`.
 * @param login a name that operating systems allow
 */
export function userIdOf(login: string): string {
  const id = login
    .toLowerCase()
    .replace(/[^a-z0-9_-]/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 32)
  return id === '' ? 'user' : id
}

/** The user in metadata. Login names, which earlier versions stored, become ids. */
export const LoopUser = z
  .string()
  .transform((name) => (LOGIN_NAME.test(name) && !name.includes('..') ? userIdOf(name) : name))
  .pipe(UserId)
