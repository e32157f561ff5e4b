import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { createConnection, createServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** A private ssh server on the loopback address that serves git repositories of the current user. */
export interface GitServer extends AsyncDisposable {
  readonly port: number
  /** The one private key that is let in. */
  readonly key: string
  /** `ssh://` address of a repository of this host. */
  url(path: string): string
  /** Gives the server another host key, as an impostor would have. */
  changeHostKey(): Promise<void>
}

/**
 * Starts sshd with a configuration, host key and authorised keys of its own.
 * @param directory an existing, empty directory for its files
 */
export async function startGitServer(directory: string): Promise<GitServer> {
  const key = await makeKey(join(directory, 'client'))
  const hostKey = await makeKey(join(directory, 'host'))
  const authorized = join(directory, 'authorized_keys')
  // Whoever gets in can run git's own restricted shell, and nothing else.
  const forced = 'restrict,command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\""'
  await writeFile(authorized, `${forced} ${await readFile(`${key}.pub`, 'utf8')}`, { mode: 0o600 })
  const port = await freePort()
  const config = join(directory, 'sshd_config')
  let current = hostKey
  const start = async (): Promise<ChildProcess> => {
    await writeFile(config, configuration({ port, hostKey: current, authorized }))
    return await startSshd(config, port)
  }
  // Needed by root alone, for the separation of privileges.
  const made = process.getuid?.() === 0 ? await mkdir('/run/sshd', { recursive: true, mode: 0o755 }) : undefined
  let daemon = await start()
  return {
    port,
    key,
    url: (path) => `ssh://${userInfo().username}@127.0.0.1:${port}${path}`,
    changeHostKey: async () => {
      await stop(daemon)
      current = await makeKey(join(directory, 'impostor'))
      daemon = await start()
    },
    [Symbol.asyncDispose]: async () => {
      await stop(daemon)
      if (made !== undefined) await rmdir(made)
    },
  }
}

/** Makes a key pair without a passphrase. @returns the path of the private key */
export async function makeKey(path: string): Promise<string> {
  await execute('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', path])
  return path
}

function configuration(options: { port: number; hostKey: string; authorized: string }): string {
  return [
    `Port ${options.port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${options.hostKey}`,
    `AuthorizedKeysFile ${options.authorized}`,
    'PidFile none',
    'StrictModes no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin yes',
    // Without rights to read the shadow file only this way; with them, an account without a password counts as locked.
    `UsePAM ${process.getuid?.() === 0 ? 'yes' : 'no'}`,
    '',
  ].join('\n')
}

async function startSshd(config: string, port: number): Promise<ChildProcess> {
  const daemon = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  daemon.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  const failed = once(daemon, 'exit').then(() => {
    throw new Error(`sshd does not run: ${log}`)
  })
  const answered = (async () => {
    while (!(await answers(port))) await sleep(20)
  })()
  await Promise.race([answered, failed])
  failed.catch(() => undefined)
  return daemon
}

async function stop(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return
  const ended = once(daemon, 'exit')
  daemon.kill()
  await ended
}

async function answers(port: number): Promise<boolean> {
  const socket = createConnection({ port, host: '127.0.0.1' })
  try {
    await once(socket, 'connect')
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED') return false
    throw error
  } finally {
    socket.destroy()
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
