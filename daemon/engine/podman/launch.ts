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

/** Mounts a unified hierarchy, then becomes the service. */
const UNDER_OWN_CGROUPS = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'

/**
 * The command that serves on `socketPath` for ever.
 *
 * On a host with hybrid cgroups crun starts nothing. There the service gets mount and cgroup namespaces of its own, in
 * which the hierarchy is a unified one; no root is needed. Limits cannot be enforced then. The same wrapper helps when
 * podman's pause process was started elsewhere: the service does not join that one's mount namespace.
 * @param podman the binary
 * @param isUnified whether /sys/fs/cgroup is a cgroup2 mount
 */
export function serviceCommand(podman: string, socketPath: string, isUnified: boolean): CommandLine {
  const serve = ['system', 'service', '--time', '0', `unix://${socketPath}`]
  if (isUnified) return { program: podman, args: serve }
  const wrapper = ['unshare', 'unshare', '-m', '-C', 'sh', '-c', UNDER_OWN_CGROUPS, 'sh']
  return { program: podman, args: [...wrapper, podman, ...serve] }
}

/** What a transient user unit needs to know. */
export interface UnitOptions {
  readonly unit: string
  readonly logPath: string
  readonly env: Readonly<Record<string, string>>
}

/** The same command as a transient unit of the user's service manager. Stopping it leaves the containers alone. */
export function unitCommand(command: CommandLine, { unit, logPath, env }: UnitOptions): CommandLine {
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
      ...Object.entries(env).map(([name, value]) => `--setenv=${name}=${value}`),
      '--',
      command.program,
      ...command.args,
    ],
  }
}
