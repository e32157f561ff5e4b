/** A program and its arguments. */
export interface CommandLine {
  readonly program: string
  readonly args: readonly string[]
}

/**
 * Our own service's configuration. It names the network back end, since Debian 12 would choose the older one, and
 * lets the two processes that each API exec leaves behind end after 10 s instead of 300 s. The user's files stay as they are.
 */
export const CONTAINERS_CONF = `# Written by loopatd for the podman service that it starts itself.
[network]
network_backend = "netavark"

[engine]
exit_command_delay = 10
`

/** Variables that podman needs of its environment; everything else, secrets above all, is not passed on. */
const PASSED = [
  'DBUS_SESSION_BUS_ADDRESS',
  'HOME',
  'LANG',
  'LOGNAME',
  'PATH',
  'REGISTRY_AUTH_FILE',
  'SSL_CERT_DIR',
  'SSL_CERT_FILE',
  'TMPDIR',
  'USER',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'XDG_CACHE_HOME',
  'XDG_CONFIG_HOME',
  'XDG_DATA_HOME',
  'XDG_RUNTIME_DIR',
  'CONTAINERS_REGISTRIES_CONF',
  'CONTAINERS_STORAGE_CONF',
]

/**
 * The environment of the service.
 * @param confPath file with {@link CONTAINERS_CONF}
 */
export function serviceEnv(env: NodeJS.ProcessEnv, confPath: string): Record<string, string> {
  const passed = PASSED.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const]))
  return { ...Object.fromEntries(passed), CONTAINERS_CONF: confPath }
}

/**
 * Puts the unified hierarchy where crun looks for it, unless it is there, then becomes the service. No `${`: systemd
 * would replace that. The hierarchy is the host's own where it has one, so that paths in it mean the same to everybody.
 */
const UNDER_UNIFIED_CGROUPS = [
  'if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then :;',
  'elif [ -e /sys/fs/cgroup/unified/cgroup.procs ]; then mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup;',
  'else unshare -C mount -t cgroup2 none /sys/fs/cgroup; fi && exec "$@"',
].join(' ')

/** How a socket is named to podman. */
export function serviceAddress(socketPath: string): string {
  return `unix://${socketPath}`
}

/**
 * The command that serves on `socketPath` for ever.
 *
 * On a host with hybrid cgroups crun starts nothing. There the service runs in the namespaces that podman's pause
 * process keeps, with a unified hierarchy mounted in them; no root is needed. Limits cannot be enforced then.
 *
 * A mount namespace of its own would not do: the file systems and networks of running containers are mounts that exist
 * only where they were made, so a service that is started again, that of another workspace and the user's own podman
 * could neither list nor enter them.
 * @param podman the binary
 * @param isUnified whether /sys/fs/cgroup is a cgroup2 mount
 */
export function serviceCommand(podman: string, socketPath: string, isUnified: boolean): CommandLine {
  const serve = ['system', 'service', '--time', '0', serviceAddress(socketPath)]
  if (isUnified) return { program: podman, args: serve }
  return { program: podman, args: ['unshare', 'sh', '-c', UNDER_UNIFIED_CGROUPS, 'sh', podman, ...serve] }
}

/** What a transient user unit needs to know. */
export interface UnitOptions {
  readonly unit: string
  readonly logPath: string
  /** Names of variables that it gets; their values are those of the process that runs the command line. */
  readonly variables: readonly string[]
}

/**
 * The same command as a transient unit of the user's service manager. Stopping it leaves the containers alone. Values of
 * variables are no part of it: a proxy's may hold a password, and everybody on the host can read a command line.
 */
export function unitCommand(command: CommandLine, { unit, logPath, variables }: UnitOptions): CommandLine {
  const properties = [
    'Type=exec',
    'KillMode=process',
    'Delegate=yes',
    'TasksMax=infinity',
    `StandardOutput=append:${logPath}`,
    `StandardError=append:${logPath}`,
  ]
  return {
    program: 'systemd-run',
    args: [
      '--user',
      '--quiet',
      '--collect',
      `--unit=${unit}`,
      '--description=podman service of loopatd',
      ...properties.map((property) => `--property=${property}`),
      ...variables.map((name) => `--setenv=${name}`),
      '--',
      command.program,
      ...command.args,
    ],
  }
}
