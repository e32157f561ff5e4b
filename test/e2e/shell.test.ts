import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { TestTerminal } from '../harness/pty.ts'
import { eventually, makeWorkspace, processesWith, type TestWorkspace } from '../harness/workspace.ts'

describe('loopctl on a terminal', () => {
  let workspace: TestWorkspace
  let loop: string
  let terminal: TestTerminal | undefined

  beforeAll(async () => {
    workspace = await makeWorkspace()
    loop = await workspace.ok('create', 'shell')
  })
  afterEach(() => {
    terminal?.kill()
    terminal = undefined
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  /** Runs loopctl between two looks at the modes of the terminal. */
  function open(...args: string[]): TestTerminal {
    const words = [workspace.program, ...args].map((word) => `'${word}'`).join(' ')
    terminal = new TestTerminal(`echo "<$(stty -g)>"; ${words}; echo "(code $?)"; echo "<$(stty -g)>"`, workspace.env)
    return terminal
  }

  async function modes(on: TestTerminal): Promise<string> {
    return (await on.expect(/<([0-9a-f:]+)>/))[1] ?? ''
  }

  /** The one loopctl shell that runs. */
  async function shellPid(): Promise<number> {
    const [pid] = await processesWith(['shell', loop], { atEnd: true })
    if (pid === undefined) throw new Error('no loopctl shell runs')
    return pid
  }

  it('should be a shell of the size of the terminal, also when that changes, and give the terminal back', async () => {
    const on = open('shell', loop)
    const before = await modes(on)
    await on.expect(/[$#] /)
    on.type('stty size; tty\r')
    await on.expect(/24 80\r\n\/dev\/pts/)
    on.resize(101, 33)
    await eventually('the new size arrives', async () => {
      on.type('echo "is $(stty size)"\r')
      const size = (await on.expect(/\nis (\d+ \d+)\r\n/))[1]
      return size === '33 101'
    })
    on.type('exit 5\r')
    await on.expect(/\(code 5\)/)
    expect(await modes(on)).toBe(before)
    expect(await on.exited).toBe(0)
  })

  it('should let Ctrl-C and Ctrl-D mean the shell inside', async () => {
    const on = open('shell', loop)
    const before = await modes(on)
    await on.expect(/[$#] /)
    on.type('sleep 543210\r')
    await eventually('it runs', async () => (await processesWith(['sleep', '543210'])).length === 1)
    on.type('\x03')
    await on.expect(/[$#] /)
    on.type('echo "code was $?"\r')
    await on.expect(/\ncode was 130/)
    on.type('\x04')
    await on.expect(/\(code \d+\)/)
    expect(await modes(on)).toBe(before)
  })

  it('should draw what programs inside draw', async () => {
    const script = 'stty raw; printf "one\\ntwo\\r\\nthree\\r\\n"'
    const on = open('shell', loop)
    await on.expect(/[$#] /)
    on.type(`${script}; stty sane; echo end\r`)
    await on.expect(/one\ntwo\r\nthree\r\nend/)
    on.type('exit\r')
    await on.expect(/\(code 0\)/)
  })

  it.each([
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('should end what runs inside and give the terminal back on %s', async (signal, code) => {
    const on = open('shell', loop)
    const before = await modes(on)
    await on.expect(/[$#] /)
    on.type('sleep 654321\r')
    await eventually('it runs', async () => (await processesWith(['sleep', '654321'])).length === 1)
    process.kill(await shellPid(), signal)
    await on.expect(new RegExp(`\\(code ${code}\\)`))
    expect(await modes(on)).toBe(before)
    await eventually('the command inside ends', async () => (await processesWith(['sleep', '654321'])).length === 0)
  })

  it('should give the terminal back when the daemon is killed', async () => {
    const on = open('shell', loop)
    const before = await modes(on)
    await on.expect(/[$#] /)
    process.kill(await workspace.daemonPid(), 'SIGKILL')
    await on.expect(/connection to the daemon was lost/)
    await on.expect(/\(code 125\)/)
    expect(await modes(on)).toBe(before)
    expect(await workspace.ok('exec', loop, 'echo', 'still here')).toBe('still here')
  })

  it('should say what is wrong and leave the terminal alone when there is no such loop', async () => {
    const on = open('shell', 'no-such-loop')
    const before = await modes(on)
    await on.expect(/loopctl:[^\n]*no-such-loop/)
    await on.expect(/\(code 125\)/)
    expect(await modes(on)).toBe(before)
  })

  it('should refuse a stdin that is no terminal', async () => {
    const { code, stderr } = await workspace.loopctl(['shell', loop])
    expect(code).toBe(125)
    expect(stderr).toContain('stdin is no terminal')
  })

  it('should end a command of exec with Ctrl-C', async () => {
    const on = open('exec', loop, 'sh', '-c', 'echo began; sleep 765432')
    await modes(on)
    await on.expect(/\nbegan/)
    await eventually('it runs', async () => (await processesWith(['sleep', '765432'])).length === 1)
    on.type('\x03')
    await eventually('the command inside ends', async () => (await processesWith(['sleep', '765432'])).length === 0)
  })

  it('should be stopped by Ctrl-Z, tell the daemon, and go on', async () => {
    const words = `'${workspace.program}' exec ${loop} sh -c 'echo began; sleep 2; echo ended; exit 4'`
    terminal = new TestTerminal(`set -m; ${words}; echo "(stopped: $?)"; sleep 3; fg; echo "(code $?)"`, workspace.env)
    await terminal.expect(/began\r\n/)
    terminal.type('\x1a')
    await terminal.expect(/\(stopped: 148\)/)
    await terminal.expect(/ended\r\n/)
    await terminal.expect(/\(code 4\)/)
    const said = (await readFile(join(workspace.home, 'log/loopatd.log'), 'utf8')).matchAll(/"isAway":(true|false)/g)
    expect([...said].map(([, isAway]) => isAway)).toEqual(['true', 'false'])
  })

  it('should still listen when the terminal takes nothing', async () => {
    const on = open('exec', loop, 'yes', '876543')
    await modes(on)
    await on.expect(/\n876543/)
    on.hold(true)
    const [pid] = await processesWith(['exec', loop, 'yes', '876543'], { atEnd: true })
    if (pid === undefined) throw new Error('no loopctl runs')
    // A terminal holds a few kilobytes.
    await sleep(1000)
    process.kill(pid, 'SIGTERM')
    await eventually('the command inside ends', async () => (await processesWith(['yes', '876543'])).length === 0)
    on.hold(false)
    await on.expect(/\(code 143\)/)
  })

  it('should hand lines on to exec -i', async () => {
    const on = open('exec', '-i', loop, 'sh', '-c', 'read line; echo "got $line"; test ! -t 0')
    await modes(on)
    on.type('hello\r')
    await on.expect(/\ngot hello/)
    await on.expect(/\(code 0\)/)
  })
})
