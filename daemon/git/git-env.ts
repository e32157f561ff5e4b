/**
 * The environment and the settings that git gets from us, and nothing else: no file of the host's user, no prompt, no
 * helper, no agent, no variable of the daemon that is not named here.
 */
import { LoopatError } from '@loopatd/protocol/error'
import type { SourceKind } from './repo-source.ts'

/** What git may reach. */
export type GitReach =
  /** No transport at all. */
  | { readonly kind: 'none' }
  | { readonly kind: Exclude<SourceKind, 'ssh'> }
  | { readonly kind: 'ssh'; readonly command: string }

/** Variables by name. */
export type Env = Readonly<Record<string, string | undefined>>

/** How to get out through proxies, and whom to trust. Git's libcurl reads these. */
const NETWORK_VARIABLES = [
  'ALL_PROXY',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'GIT_SSL_CAPATH',
  'HTTPS_PROXY',
  'NO_PROXY',
  'SSL_CERT_DIR',
  'SSL_CERT_FILE',
  'all_proxy',
  'https_proxy',
  'no_proxy',
]

/** Settings of every call; they outrank those of the repository. */
export const GIT_CONFIG: readonly string[] = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.attributesFile=/dev/null',
  'core.excludesFile=/dev/null',
  'core.warnAmbiguousRefs=false',
  'advice.detachedHead=false',
  'fetch.recurseSubmodules=false',
  'submodule.recurse=false',
  'gc.auto=0',
  'maintenance.auto=false',
  // A server that says nothing, not even a keep-alive, for a minute.
  'http.lowSpeedLimit=1',
  'http.lowSpeedTime=60',
  // For reflogs only: no name of the host gets into a loop.
  'user.name=loopat',
  'user.email=loopat@local',
]

/**
 * Builds the environment of one git call.
 * @param host the daemon's own environment; only what is needed is taken over
 */
export function gitEnv(host: Env, reach: GitReach): Record<string, string> {
  const env: Record<string, string> = {
    PATH: host.PATH ?? '/usr/local/bin:/usr/bin:/bin',
    // No file of the user's home is wanted: .netrc, .config/git and others.
    HOME: '/nonexistent',
    LC_ALL: 'C',
    GIT_ALLOW_PROTOCOL: reach.kind,
    GIT_ASKPASS: '/bin/false',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_NO_LAZY_FETCH: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_TERMINAL_PROMPT: '0',
  }
  if (host.TMPDIR !== undefined) env.TMPDIR = host.TMPDIR
  if (reach.kind === 'https') {
    for (const name of NETWORK_VARIABLES) {
      const value = host[name]
      if (value !== undefined) env[name] = value
    }
    // libcurl itself does not read this one; its command line does.
    const bundle = host.GIT_SSL_CAINFO ?? host.CURL_CA_BUNDLE ?? host.SSL_CERT_FILE
    if (bundle !== undefined && bundle !== '') env.GIT_SSL_CAINFO = bundle
  }
  if (reach.kind === 'ssh') {
    env.GIT_SSH_COMMAND = reach.command
    env.GIT_SSH_VARIANT = 'ssh'
  }
  return env
}

/**
 * The ssh that git runs: one key file, one file of known hosts, no agent, no default keys, no configuration of the user,
 * no question to anybody. The host key is pinned at the first contact.
 * @param files absolute paths of the private key and of the file of known hosts
 * @throws `repo_invalid` when a path cannot be handed to ssh
 */
export function sshCommand(files: { readonly key: string; readonly knownHosts: string }): string {
  const options = [
    'BatchMode=yes',
    'CheckHostIP=no',
    'ClearAllForwardings=yes',
    'ConnectTimeout=15',
    'ControlMaster=no',
    'ControlPath=none',
    'ForwardAgent=no',
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    `IdentityFile=${sshPath(files.key)}`,
    'LogLevel=ERROR',
    'PermitLocalCommand=no',
    'PKCS11Provider=none',
    'PreferredAuthentications=publickey',
    'ServerAliveCountMax=3',
    'ServerAliveInterval=15',
    'StrictHostKeyChecking=accept-new',
    'UpdateHostKeys=no',
    `UserKnownHostsFile=${sshPath(files.knownHosts)}`,
  ]
  return ['ssh -F /dev/null -a -x', ...options.map((option) => `-o ${shellQuote(option)}`)].join(' ')
}

/** ssh expands `%` and `${}` in file names and splits them at white space outside of quotes. */
function sshPath(path: string): string {
  if (/["\\$]|\p{Cc}/u.test(path)) {
    throw new LoopatError('repo_invalid', `ssh cannot be given the file '${path}'`, {
      next: 'Use a path without quotes, backslashes, dollar signs and control characters.',
    })
  }
  return `"${path.replaceAll('%', '%%')}"`
}

function shellQuote(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`
}
