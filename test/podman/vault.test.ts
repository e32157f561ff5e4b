import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { skipsPodman, startPodman, type TestImage } from '../harness/podman.ts'
import { ask } from '../harness/podman-ask.ts'
import { TestTerminal } from '../harness/pty.ts'
import { shellImage } from '../harness/shell-image.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** Nothing else on this machine contains them. */
const SECRET = `work-${randomBytes(12).toString('hex')}`
const OTHER = `other-${randomBytes(12).toString('hex')}`

let workspace: TestWorkspace

/** Puts something into a vault. */
async function set(input: string, ...words: string[]): Promise<void> {
  expect(await workspace.loopctl(['vault', 'set', ...words], { input })).toEqual({ code: 0, stdout: '', stderr: '' })
}

const exec = (...words: string[]) => workspace.loopctl(['exec', ...words])
const containerOf = async (loop: string) =>
  (await workspace.json<{ container: { id: string } }>('show', loop)).container.id

/** Files below the directories that hold a text. */
async function filesWith(text: string, ...grep: string[]): Promise<string[]> {
  try {
    return (await promisify(execFile)('grep', ['-rlaFs', '-e', text, ...grep])).stdout.split('\n').filter(Boolean)
  } catch (error) {
    // 1: none. 2: none in what may be read.
    if (error instanceof Error && 'code' in error && (error.code === 1 || error.code === 2)) return []
    throw error
  }
}

/** Processes of this host, or of loops, in whose arguments or environment a text is. */
async function processesWith(text: string, place: 'host' | 'loop'): Promise<string[]> {
  const own = await readlink('/proc/self/ns/pid')
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    try {
      if (((await readlink(`/proc/${pid}/ns/pid`)) === own) !== (place === 'host')) continue
      for (const file of ['cmdline', 'environ']) {
        if ((await readFile(`/proc/${pid}/${file}`)).includes(text)) found.push(file)
      }
    } catch (error) {
      // It is gone, or somebody else's.
      if (!(error instanceof Error && 'code' in error)) throw error
    }
  }
  return found
}

describe.skipIf(skipsPodman())('vaults', () => {
  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('vault', 'create', 'work')
    await workspace.ok('vault', 'create', 'other')
    await set(OTHER, 'other', 'OTHER_TOKEN')
    await set(OTHER, 'other', '--home', '.other/token')
    await workspace.ok('create', '--name', 'main', '--vault', 'work')
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  it('should give a secret to the next command of a running loop, and change it, without a new container', async () => {
    const before = await containerOf('main')
    await set(`${SECRET}\n`, 'work', 'TOKEN')
    expect(await exec('main', '--', 'sh', '-c', 'echo "$TOKEN"')).toMatchObject({ stdout: `${SECRET}\n` })
    await set(`${SECRET}-2`, 'work', 'TOKEN')
    expect(await exec('main', '--', 'sh', '-c', 'echo "$TOKEN"')).toMatchObject({ stdout: `${SECRET}-2\n` })
    await workspace.ok('vault', 'unset', 'work', 'TOKEN')
    expect(await exec('main', '--', 'sh', '-c', 'env | grep -c TOKEN')).toMatchObject({ stdout: '0\n' })
    expect(await containerOf('main')).toBe(before)
  })

  it('should let a variable of the loop win over the vault, and one of the command over both', async () => {
    await set('vault', 'work', 'WHO')
    const who = async (...words: string[]) => (await exec(...words, 'main', '--', 'sh', '-c', 'echo $WHO')).stdout
    expect(await who()).toBe('vault\n')
    await workspace.ok('env', 'set', 'main', 'WHO=loop')
    expect(await who()).toBe('loop\n')
    expect(await who('-e', 'WHO=command')).toBe('command\n')
    expect(await workspace.json('env', 'ls', 'main')).toEqual({ WHO: 'loop' })
    await workspace.ok('env', 'unset', 'main', 'WHO')
    expect(await who()).toBe('vault\n')
    await workspace.ok('vault', 'unset', 'work', 'WHO')
  })

  it('should leave a secret nowhere on the host while a command runs with it', async () => {
    await set(SECRET, 'work', 'TOKEN')
    await set(SECRET, 'work', '--home', '.netrc')
    await set('Host x', 'work', '--home', '.ssh/config')
    await workspace.ok('restart', 'main')
    // The agent runs the one, the engine the other.
    const start = (word: string, ...options: string[]) =>
      workspace.spawn(['exec', ...options, 'main', '--', 'sh', '-c', `[ "$TOKEN" ] && touch ${word} && sleep 600`])
    const running = [start('began'), start('began-as-root', '-u', 'root')]
    const hasBegun = async () =>
      (await exec('main', '--', 'test', '-e', 'began', '-a', '-e', 'began-as-root')).code === 0
    await eventually('the commands begin', hasBegun)
    const { socketPath } = workspace.service
    const id = await containerOf('main')
    const inspected = JSON.stringify(await ask(socketPath, `/v4.0.0/libpod/containers/${id}/json`))
    expect(inspected).toContain('/home/loopat/.netrc')
    expect(inspected).not.toContain(SECRET)
    const { ExecIDs: execs = [] } = JSON.parse(inspected) as { ExecIDs?: string[] }
    expect(execs).toHaveLength(1)
    for (const session of execs) {
      expect(JSON.stringify(await ask(socketPath, `/v4.0.0/libpod/exec/${session}/json`))).not.toContain(SECRET)
    }
    expect(new Set(await processesWith(SECRET, 'loop'))).toEqual(new Set(['environ']))
    expect(await processesWith(SECRET, 'host')).toEqual([])
    const storage = join(homedir(), '.local', 'share', 'containers')
    const { XDG_RUNTIME_DIR = '' } = process.env
    expect(await filesWith(SECRET, '--exclude-dir=overlay', storage)).toEqual([])
    expect(await filesWith(SECRET, XDG_RUNTIME_DIR, workspace.runtimeDir)).toEqual([])
    expect(await filesWith(SECRET, '--exclude-dir=personal', workspace.home)).toEqual([])
    expect(await filesWith(SECRET, workspace.home)).toHaveLength(2)
    expect((await stat(join(workspace.home, 'log', 'loopatd.log'))).size).toBeGreaterThan(0)
    for (const command of running) command.kill('SIGINT')
  })

  it('should tell no secret in any JSON', async () => {
    const commands = [
      'vault ls',
      'vault show work',
      'show main',
      'inspect main',
      'ls',
      'env ls main',
      'daemon status',
      'image status',
      'doctor',
    ]
    const run = (command: string) => workspace.loopctl([...command.split(' '), '--json'])
    for (const { stdout } of await Promise.all(commands.map(run))) {
      expect(() => JSON.parse(stdout)).not.toThrow()
      expect(stdout).not.toContain(SECRET)
      expect(stdout).not.toContain(OTHER)
    }
  })

  it('should keep every other vault out of reach, for every user inside', async () => {
    const look = `
      find / -path /proc -prune -o -path /sys -prune -o -type f -print 2>/dev/null | while IFS= read -r file; do
        grep -qs -F -e ${OTHER} -- "$file" && echo "$file"
      done
      find / -path /proc -prune -o -path /sys -prune -o -name vaults -print -o -name .other -print 2>/dev/null
      env | grep OTHER
      cat /proc/mounts | grep other
    `
    for (const user of ['loopat', '0:0']) {
      expect(await exec('-u', user, 'main', '--', 'sh', '-c', look)).toMatchObject({ stdout: '' })
    }
    const target = join(
      workspace.home,
      'personal',
      userInfo().username,
      '.loopat',
      'vaults',
      'other',
      'envs',
      'OTHER_TOKEN',
    )
    const plant = `mkdir -p ~/.ssh && ln -sf ${target} ~/.ssh/id_planted && cat ~/.ssh/id_planted`
    expect(await exec('main', '--', 'sh', '-c', plant)).toMatchObject({ stdout: '', code: 1 })
    await workspace.ok('restart', 'main')
    expect(await exec('main', '--', 'sh', '-c', 'cat ~/.ssh/id_planted; env')).toMatchObject({
      stdout: expect.not.stringContaining(OTHER),
    })
    expect((await stat(target)).mode & 0o777).toBe(0o600)
    expect((await exec('main', '--', 'grep', '-c', SECRET, '/home/loopat/.netrc')).stdout).toBe('1\n')
  })

  it('should ask for a value at a terminal without showing it, and give the terminal back after Ctrl-C', async () => {
    const script = `echo "<$(stty -g)>"; '${workspace.program}' vault set work TYPED; echo "(code $?)"; echo "<$(stty -g)>"`
    for (const [keys, code] of [
      [`${SECRET}\r`, 0],
      ['abc\x03', 130],
    ] as const) {
      const terminal = new TestTerminal(script, workspace.env)
      const before = (await terminal.expect(/<([0-9a-f:]+)>/))[1]
      await terminal.expect(/Value of TYPED in vault work: /)
      terminal.type(keys)
      await terminal.expect(new RegExp(`\\(code ${code}\\)`))
      expect((await terminal.expect(/<([0-9a-f:]+)>/))[1]).toBe(before)
      expect(terminal.output).not.toContain(keys.slice(0, -1))
      await terminal.exited
    }
    expect((await exec('main', '--', 'sh', '-c', 'echo $TYPED')).stdout).toBe(`${SECRET}\n`)
    await workspace.ok('vault', 'unset', 'work', 'TYPED')
  })

  it('should put files into the home, with the modes that ssh wants, and see a new file in a directory at once', async () => {
    await set('KEY', 'work', '--home', '.ssh/id_ed25519')
    await set('PUBLIC', 'work', '--home', '.ssh/id_ed25519.pub')
    await set('x', 'work', '--home', '.tool/token')
    expect(await workspace.json('start', 'main')).toMatchObject([{ action: 'recreated' }])
    await exec('main', '--', 'rm', '/home/loopat/.ssh/id_planted')
    const modes = await exec('main', '--', 'sh', '-c', 'cd; stat -c "%a %n" .ssh .ssh/*; cat .tool/token')
    expect(modes.stdout).toBe('700 .ssh\n600 .ssh/config\n600 .ssh/id_ed25519\n644 .ssh/id_ed25519.pub\nx')
    await set('Host y', 'work', '--home', '.ssh/config')
    expect((await exec('main', '--', 'cat', '/home/loopat/.ssh/config')).stdout).toBe('Host y')
    expect((await workspace.json<{ home: unknown }>('vault', 'show', 'work')).home).toContainEqual({
      name: '.ssh',
      kind: 'directory',
    })
  })

  it('should not be removed while a loop uses it, and leave a clear error when it is all the same', async () => {
    await workspace.ok('vault', 'create', 'short')
    await workspace.ok('create', '--name', 'short', '--vault', 'short', '--no-start')
    const refused = await workspace.loopctl(['vault', 'rm', 'short'])
    expect(refused).toMatchObject({ code: 4 })
    expect(refused.stderr).toContain('vault "short" is used by short')
    expect(await workspace.ok('vault', 'rm', '--force', 'short')).toBe('short')
    const missing = await exec('short', '--', 'true')
    expect(missing).toMatchObject({ code: 125 })
    expect(missing.stderr).toContain('there is no vault "short"')
    await workspace.ok('rm', '--force', 'short')
  })

  describe.each(['busybox', 'dash', 'bash'] as const)('with %s as /bin/sh', (shell) => {
    let image: TestImage | undefined

    beforeAll(async () => {
      if (shell !== 'busybox') {
        await using podman = await startPodman()
        image = await shellImage(podman.engine, shell)
      }
      await workspace.ok('create', '--name', shell, '--vault', 'work', '--image', image?.tag ?? workspace.image)
    })
    afterAll(async () => {
      await workspace.ok('rm', '--force', shell)
      if (image === undefined) return
      await using podman = await startPodman()
      await podman.engine.image.untag(image.tag)
    })

    it('should pass arguments, binary input and output, and exit codes on', async () => {
      const bytes = randomBytes(300_000)
      const sum = await workspace.loopctl(['exec', shell, '--', 'sha256sum'], { input: bytes })
      expect(sum.stdout).toBe(`${createHash('sha256').update(bytes).digest('hex')}  -\n`)
      const script = 'printf "<%s>" "$TOKEN" "$@"; echo err >&2; exit 7'
      const outcome = await exec(shell, '--', 'sh', '-c', script, 'sh', 'a b', "c'd", '', '-e')
      expect(outcome).toEqual({ code: 7, stdout: `<${SECRET}><a b><c'd><><-e>`, stderr: 'err\n' })
    })

    it('should give the secret to other users, and hold no file of it once the command runs', async () => {
      const script = 'id -u; echo "$TOKEN"; ls /loopat/control/env/'
      const asUser = (user: string) => exec('-u', user, shell, '--', 'sh', '-c', script)
      const [root, stranger] = await Promise.all(['0:0', '1234:1234'].map(asUser))
      // The directory may be entered by all, and listed by its owner and root alone.
      expect(root?.stdout).toMatch(new RegExp(`^0\\n${SECRET}\\n`))
      expect(stranger?.stdout).toBe(`1234\n${SECRET}\n`)
      expect(await filesWith(SECRET, workspace.runtimeDir)).toEqual([])
    })

    it('should tell what is missing from what cannot be executed, and be the command itself', async () => {
      const [missing, path, refused, nowhere, own, itself] = await Promise.all([
        exec(shell, '--', 'no-such-program'),
        exec(shell, '--', '/no/such'),
        exec(shell, '--', '/etc/not-executable'),
        exec('-w', '/nowhere', shell, '--', 'true'),
        exec(shell, '--', 'sh', '-c', 'exit 127'),
        exec(shell, '--', 'sh', '-c', 'tr "\\0" " " </proc/$$/cmdline; kill -KILL $$'),
      ])
      expect(missing).toMatchObject({ code: 127, stdout: '' })
      expect(path?.stderr).toContain('"/no/such" was not found in the loop')
      expect(refused).toMatchObject({ code: 126, stdout: '' })
      expect(nowhere?.code).toBe(126)
      expect(own).toMatchObject({ code: 127, stderr: '' })
      expect(itself).toMatchObject({ code: 137, stdout: expect.stringMatching(/^sh -c tr/) })
    })

    it('should be there on a terminal', async () => {
      const terminal = new TestTerminal(`'${workspace.program}' shell ${shell}`, workspace.env)
      await terminal.expect(/[$#] /)
      terminal.type('echo "is $TOKEN"; stty size\r')
      await terminal.expect(new RegExp(`is ${SECRET}\\r\\n24 80`))
      terminal.type('exit 3\r')
      expect(await terminal.exited).toBe(3)
    })
  })
})
