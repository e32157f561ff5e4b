/** Where a command runs on the host, and what it finds in its environment. Pure. */

/** A directory, and the names that lead to it from one that only we can replace. */
export interface HostDirectory {
  readonly from: string
  readonly names: readonly string[]
}

/**
 * Maps the caller's directory: one inside its workdir to the same on the host, any other to the workdir itself. Whoever
 * opens it must follow no link: the loop can put one anywhere below.
 * @param cwd the caller's directory, as bytes
 * @param inside workdir inside
 * @param workdir the same on the host
 * @returns undefined when the host cannot name it
 */
export function mapDirectory(cwd: Buffer, inside: string, workdir: string): HostDirectory | undefined {
  const path = cwd.toString('utf8')
  if (path !== inside && !path.startsWith(`${inside}/`)) return { from: workdir, names: [] }
  if (!Buffer.from(path, 'utf8').equals(cwd)) return undefined
  const names = path.slice(inside.length).split('/').slice(1)
  if (names.some((name) => name === '' || name === '.' || name === '..')) return undefined
  return { from: workdir, names }
}

/** Variables of the daemon that every command gets. */
const KEPT = ['HOME', 'LANG', 'LC_ALL', 'LC_CTYPE', 'LOGNAME', 'SHELL', 'TZ', 'USER']

/**
 * For commands that call git by themselves: the workdir is the loop's, so its git configuration could name programs to run.
 * Where that is most likely it is overruled; a command that runs whatever it finds there is not to be granted.
 */
const GIT_GUARDS: Readonly<Record<string, string>> = {
  GIT_CONFIG_COUNT: '3',
  GIT_CONFIG_KEY_0: 'core.fsmonitor',
  GIT_CONFIG_VALUE_0: 'false',
  GIT_CONFIG_KEY_1: 'core.hooksPath',
  GIT_CONFIG_VALUE_1: '/dev/null',
  GIT_CONFIG_KEY_2: 'protocol.ext.allow',
  GIT_CONFIG_VALUE_2: 'never',
  GIT_SSH_COMMAND: 'ssh',
}

/** What the environment is made of. */
export interface HostEnvironment {
  /** The daemon's own. */
  readonly daemon: Readonly<Record<string, string | undefined>>
  readonly path: string
  /** What the caller may say. */
  readonly caller: Readonly<Record<string, string>>
  /** What the grant adds. */
  readonly env: Readonly<Record<string, string>>
  readonly passEnv: readonly string[]
  /** By which the processes are found. */
  readonly mark: Readonly<Record<string, string>>
}

/** The whole environment of a command; of two with one name the later counts: fixed ones, the caller's, the grant's. */
export function buildEnvironment({
  daemon,
  path,
  caller,
  env,
  passEnv,
  mark,
}: HostEnvironment): Record<string, string> {
  const of = (names: readonly string[]) =>
    Object.fromEntries(names.flatMap((name) => (isSet(daemon, name) ? [[name, daemon[name]]] : [])))
  return {
    ...of(KEPT),
    PATH: path,
    ...GIT_GUARDS,
    ...caller,
    ...of(passEnv),
    ...env,
    ...mark,
  }
}

/** What every object has, such as `constructor`, is no variable. */
function isSet(env: Readonly<Record<string, string | undefined>>, name: string): boolean {
  return Object.hasOwn(env, name) && env[name] !== undefined
}
