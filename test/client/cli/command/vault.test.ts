import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type HostOptions, TestHost } from '../host.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

const vault = {
  name: 'work',
  path: '/home/me/.loopat/personal/me/.loopat/vaults/work',
  env: ['TOKEN'],
  home: [{ name: '.ssh', kind: 'directory' }],
  loops: ['fix-login'],
  warnings: [{ entry: 'envs/\x1b[31mX', target: '/etc/passwd', why: 'leads out of the directory of its user' }],
}

let stub: StubDaemon

beforeEach(async () => {
  stub = await startStub()
  stub.on('vault/set', () => ({ replaced: false }))
})
afterEach(() => stub[Symbol.asyncDispose]())

const host = (options: HostOptions = {}) => new TestHost({ socket: stub.socket, ...options })
const sent = () => stub.calls.filter(({ method }) => method.startsWith('vault/')).map(({ params }) => params)

describe('loopctl vault', () => {
  it('should list vaults and point at what is not delivered', async () => {
    stub.on('vault/list', () => ({ vaults: [vault] }))
    const { stdout, stderr } = await host().run('vault', 'ls')
    expect(stdout).toBe('VAULT  VARIABLES  HOME  LOOPS\nwork   1          1     1\n')
    expect(stderr).toBe('work: 1 entry not delivered. See: loopctl vault show work\n')
    expect(JSON.parse((await host().run('vault', 'ls', '--json')).stdout)).toEqual([vault])
  })

  it('should say how to begin when there are none', async () => {
    stub.on('vault/list', () => ({ vaults: [] }))
    expect(await host().run('vault', 'ls')).toMatchObject({ code: 0, stdout: '' })
  })

  it('should show a vault in words that move no terminal', async () => {
    stub.on('vault/show', () => ({ vault }))
    const { stdout } = await host().run('vault', 'show', 'work')
    expect(stdout).toContain('variable       TOKEN\n')
    expect(stdout).toContain('home           ~/.ssh/\n')
    expect(stdout).toContain('not delivered  envs/\\x1b[31mX leads out of the directory of its user: /etc/passwd\n')
    expect(JSON.parse((await host().run('vault', 'show', 'work', '--json')).stdout)).toEqual(vault)
  })

  it('should create and remove vaults', async () => {
    stub.on('vault/create', () => ({ created: true }))
    stub.on('vault/remove', () => ({}))
    expect(await host().run('vault', 'create', 'work')).toEqual({ code: 0, stdout: 'work\n', stderr: '' })
    expect(await host().run('vault', 'rm', '-f', 'work')).toEqual({ code: 0, stdout: 'work\n', stderr: '' })
    expect(sent()).toEqual([{ vault: 'work' }, { vault: 'work', force: true }])
  })

  it('should take what is set out again', async () => {
    stub.on('vault/unset', ({ env }) => ({ removed: env === 'TOKEN' }))
    expect(await host().run('vault', 'unset', 'work', 'TOKEN')).toEqual({ code: 0, stdout: '', stderr: '' })
    expect(await host().run('vault', 'unset', 'work', '--home', '~/.netrc')).toEqual({
      code: 0,
      stdout: '',
      stderr: '.netrc was not set.\n',
    })
    expect(sent()).toEqual([
      { vault: 'work', env: 'TOKEN' },
      { vault: 'work', home: '.netrc' },
    ])
  })
})

describe('loopctl vault set', () => {
  it('should take the value from stdin as it is', async () => {
    const outcome = await host({ input: 'one\ntwo\n' }).run('vault', 'set', 'work', 'TOKEN')
    expect(outcome).toEqual({ code: 0, stdout: '', stderr: '' })
    expect(sent()).toEqual([{ vault: 'work', env: 'TOKEN', value: 'one\ntwo\n' }])
  })

  it('should take a file from stdin, whatever is in it', async () => {
    const input = Buffer.from([0, 255, 10])
    await host({ input }).run('vault', 'set', 'work', '--home', '.ssh/id')
    expect(sent()).toEqual([{ vault: 'work', home: '.ssh/id', content: input.toString('base64') }])
  })

  it.each([
    ['nothing to set', ['work'], 'x'],
    ['both a variable and a file', ['work', 'TOKEN', '--home', 'x'], 'x'],
    ['a value on the command line', ['work', 'TOKEN=s3cret'], ''],
    ['an empty stdin', ['work', 'TOKEN'], ''],
    ['a value that is no text', ['work', 'TOKEN'], Buffer.from([255])],
    ['too much', ['work', 'TOKEN'], 'x'.repeat(1_048_577)],
  ])('should refuse %s', async (_what, words, input) => {
    const { code, stderr } = await host({ input }).run('vault', 'set', ...words)
    expect(code).toBe(2)
    expect(stderr).not.toContain('s3cret')
    expect(sent()).toEqual([])
  })
})

describe('loopctl vault set at a terminal', () => {
  /** Starts to ask, and resolves when the question is there. */
  const ask = async (...words: string[]) => {
    const terminal = host({ tty: { stdin: true, stderr: true } })
    const done = terminal.run('vault', 'set', 'work', ...words)
    while (!terminal.stderr.text.includes(': ')) await once(terminal.stderr, 'written')
    return { terminal, done }
  }

  it('should ask for the value and show nothing of it', async () => {
    const { terminal, done } = await ask('TOKEN')
    expect(terminal.modes).toEqual([true])
    terminal.stdin.write('wrong\x15s3cx')
    terminal.stdin.write('\x7fret ü\r')
    const { code, stdout, stderr } = await done
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
    expect(stderr).toBe('Value of TOKEN in vault work: \n')
    expect(sent()).toEqual([{ vault: 'work', env: 'TOKEN', value: 's3cret ü' }])
    expect(terminal.modes).toEqual([true, false])
    expect(terminal.exitListeners.size).toBe(0)
  })

  it.each([
    ['Ctrl-C', '\x03', 130],
    ['Ctrl-D', '\x04', 2],
    ['Enter alone', '\r', 2],
    ['more than one line', 'a\rb\r', 2],
  ])('should set nothing and give the terminal back after %s', async (_what, keys, code) => {
    const { terminal, done } = await ask('TOKEN')
    terminal.stdin.write(keys)
    expect((await done).code).toBe(code)
    expect(terminal.modes).toEqual([true, false])
    expect(sent()).toEqual([])
  })

  it('should give the terminal back when a signal ends it', async () => {
    const { terminal, done } = await ask('TOKEN')
    terminal.signal('SIGTERM')
    expect((await done).code).toBe(143)
    expect(terminal.modes).toEqual([true, false])
  })

  it('should give the terminal back when the program ends at once', async () => {
    const { terminal, done } = await ask('TOKEN')
    for (const listener of terminal.exitListeners) listener()
    expect(terminal.modes).toEqual([true, false])
    terminal.stdin.write('\x03')
    await done
  })

  it('should want a file on stdin', async () => {
    const terminal = host({ tty: { stdin: true } })
    expect((await terminal.run('vault', 'set', 'work', '--home', 'x')).code).toBe(2)
    await sleep(0)
    expect(terminal.modes).toEqual([])
  })
})
