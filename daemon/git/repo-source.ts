/**
 * What a person may name as a repository. Git itself understands more than we want: helpers that run commands (`ext::`),
 * plain-text transports, options hidden in addresses. So an address is taken only if it has one of four known shapes.
 */
import { createHash } from 'node:crypto'
import { basename, normalize } from 'node:path'
import { LoopatError } from '@loopatd/protocol/error'
import { printable, redactUserInfo } from './git-text.ts'

/** How a source is reached. */
export type SourceKind = 'file' | 'https' | 'ssh'

/** A source that was checked. */
export interface RepoSource {
  readonly kind: SourceKind
  /** What was named: for a roster entry its name. */
  readonly source: string
  /** What git is given, normalised. Never holds credentials. */
  readonly url: string
  /** Name of its mirror, see {@link mirrorName}. */
  readonly mirror: string
}

/** One `[[repos]]` of the configuration. */
export interface RosterEntry {
  readonly name: string
  /** An address in any of the four shapes; not the name of another entry. */
  readonly git: string
}

const ROSTER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const USER = '[A-Za-z0-9_][A-Za-z0-9._-]*'
const HOST = String.raw`(?<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])`
const HTTPS_URL = new RegExp(`^(?<head>https://)${HOST}(?<port>:[0-9]{1,5})?(?<path>/.*)$`, 'i')
const SSH_URL = new RegExp(`^(?<head>ssh://(?:${USER}@)?)${HOST}(?<port>:[0-9]{1,5})?(?<path>/.*)$`, 'i')
const SCP_LIKE = new RegExp(`^(?<head>${USER}@)${HOST}(?<port>:)(?<path>.*)$`)
const MIRROR_NAME = /^[a-z0-9][a-z0-9-]{0,39}-[0-9a-f]{8}$/
const SHAPES =
  'Give an https:// or ssh:// URL, user@host:path, an absolute path, or a name from [[repos]] in config.toml.'

/**
 * Reads a source.
 * @param roster the `[[repos]]` of the configuration
 * @throws `repo_invalid` that says what is wrong, without repeating credentials
 */
export function parseRepoSource(source: string, roster: readonly RosterEntry[]): RepoSource {
  if (!ROSTER_NAME.test(source)) return { source, ...parseAddress(source) }
  const entry = roster.find(({ name }) => name === source)
  if (entry !== undefined) return { source, ...parseAddress(entry.git) }
  throw new LoopatError('repo_invalid', `no repository is named '${printable(source)}' in the roster`, {
    next: roster.length === 0 ? SHAPES : `Known names: ${roster.map(({ name }) => name).join(', ')}. ${SHAPES}`,
    details: { repo: source },
  })
}

/**
 * Name of the mirror of an address: readable, and distinct for distinct addresses.
 * @param url a normalised address
 */
export function mirrorName(url: string): string {
  const last = basename(url.replace(/\/?\.git$/, '')).replace(/^.*:/, '')
  const slug = last
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 40)
    .replace(/^-+|-+$/g, '')
  return `${slug === '' ? 'repo' : slug}-${createHash('sha256').update(url).digest('hex').slice(0, 8)}`
}

/** Reports whether a name (from metadata on disk, say) can be that of a mirror. */
export function isMirrorName(name: string): boolean {
  return MIRROR_NAME.test(name)
}

function parseAddress(address: string): Omit<RepoSource, 'source'> {
  const [kind, url] = normaliseAddress(address)
  return { kind, url, mirror: mirrorName(url) }
}

function normaliseAddress(address: string): [SourceKind, string] {
  if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(address)) throw invalid(address, 'holds control characters')
  if (address.startsWith('-')) throw invalid(address, 'begins with "-"')
  if (address.startsWith('/')) return ['file', normalisePath(address)]
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):(?:\/\/|:)/.exec(address)?.[1]?.toLowerCase()
  if (scheme === 'file') throw invalid(address, 'is a file:// URL', 'Give the absolute path instead.')
  if (scheme === 'http') throw invalid(address, 'is fetched unencrypted', 'Use its https:// address.')
  if (scheme === 'https') return ['https', normaliseHttps(address)]
  if (scheme === 'ssh') return ['ssh', normaliseSsh(address)]
  if (scheme !== undefined) throw invalid(address, `uses the transport '${scheme}', which is not allowed`)
  if (new RegExp(`^${USER}@[^/]*:`).test(address)) return ['ssh', normaliseParts(address, SCP_LIKE)]
  throw invalid(address, 'is neither a URL nor user@host:path nor an absolute path')
}

function normalisePath(path: string): string {
  refuseDotDot(path, path)
  const normal = normalize(path).replace(/\/+$/, '')
  if (normal === '') throw invalid(path, 'is the root directory')
  return normal
}

function normaliseHttps(address: string): string {
  if (/^[^:]+:\/\/[^/?#\\]*@/.test(address)) throw withCredentials(address)
  if (/[?#]/.test(address)) throw invalid(address, 'has a query or a fragment', 'Give the address without it.')
  return normaliseParts(address, HTTPS_URL)
}

function normaliseSsh(address: string): string {
  if (/^[^:]+:\/\/[^/@]*:[^/]*@/.test(address)) throw withCredentials(address)
  return normaliseParts(address, SSH_URL)
}

/** Scheme and host in lower case, no slash at the end of the path. */
function normaliseParts(address: string, shape: RegExp): string {
  const { head, host, port = '', path } = shape.exec(address)?.groups ?? {}
  if (head === undefined || host === undefined || path === undefined) {
    throw invalid(address, 'does not name a host and a path')
  }
  if (/[\s\\]/.test(path)) throw invalid(address, 'holds white space or a backslash')
  if (path.startsWith('-') || /--(upload|receive)-pack/.test(path)) throw invalid(address, 'holds an option')
  refuseDotDot(address, path)
  const trimmed = path.replace(/\/+$/, '')
  if (trimmed === '') throw invalid(address, 'names no repository')
  // A user name keeps its case.
  return `${head.replace(/^[A-Za-z]+:/, (scheme) => scheme.toLowerCase())}${host.toLowerCase()}${port}${trimmed}`
}

function refuseDotDot(address: string, path: string): void {
  if (path.split('/').some((part) => /^(\.|%2e){2}$/i.test(part))) throw invalid(address, 'holds ".."')
}

function invalid(address: string, what: string, next = SHAPES): LoopatError {
  const shown = printable(redactUserInfo(address))
  return new LoopatError('repo_invalid', `the repository '${shown}' ${what}`, { next, details: { repo: shown } })
}

function withCredentials(address: string): LoopatError {
  const next = 'Remove them: anybody may read an address. Reach a private repository over ssh, with [git] key.'
  return invalid(address, 'holds credentials', next)
}
