import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type HostCommands, hostCommands } from '../harness/host-commands.ts'
import { skipsPodman } from '../harness/podman.ts'
import { TestTerminal } from '../harness/pty.ts'

/** Programs of the host that want a terminal, used from a shell in a loop by somebody who types. */
describe.skipIf(skipsPodman())('a command of the host on a terminal', () => {
  let host: HostCommands
  let terminal: TestTerminal | undefined
  const loop = 'typing'

  beforeAll(async () => {
    host = await hostCommands({ image: 'sandbox' })
    const ask = `stty -echo; printf 'Password: '; read -r word; stty echo; printf '\\nit was %s\\n' "$word"`
    await host.program('ask', ask)
    await host.program('measures', `stty size; trap 'stty size; exit 0' WINCH; echo waits; while :; do sleep 0.1; done`)
    await host.program('ending', 'seq 1 50000; echo THE END')
    await host.program('interrupted', `trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done`)
    await host.program('leaf', 'seq 1 500 | less')
    await host.program('scribble', 'exec vi -u NONE "$1"')
    await host.workspace.ok('create', loop)
    for (const pattern of ['ask', 'measures', 'ending', 'interrupted', 'leaf', 'scribble *']) {
      await host.workspace.ok('host', 'grant', loop, pattern)
    }
  }, 600_000)
  afterAll(() => host[Symbol.asyncDispose](), 120_000)
  afterEach(() => terminal?.kill())

  /** A shell in the loop, with a prompt that can be waited for. */
  async function shell(): Promise<TestTerminal> {
    terminal = new TestTerminal(`exec "${host.workspace.program}" shell ${loop}`, host.workspace.env)
    terminal.type(`PS1='pro''mpt> '; bind 'set enable-bracketed-paste off'\r`)
    await terminal.expect(/prompt> $/)
    return terminal
  }

  it('should let a password be typed that nobody sees', async () => {
    const typing = await shell()
    typing.type('ask\r')
    await typing.expect(/Password: $/)
    typing.type('s3cret\r')
    await typing.expect(/it was s3cret\r\n/)
    await typing.expect(/prompt> $/)
    expect(typing.output.match(/s3cret/g)?.length).toBe(1)
    // The terminal is as it was: what is typed is seen.
    typing.type('echo back\r')
    await typing.expect(/echo back\r\nback\r\n/)
  })

  it('should have the size of the terminal, and follow it', async () => {
    const typing = await shell()
    typing.type('measures\r')
    await typing.expect(/24 80\r\nwaits/)
    typing.resize(101, 31)
    await typing.expect(/31 101\r\n/)
    await typing.expect(/prompt> $/)
  })

  it('should show everything that was written last', async () => {
    const typing = await shell()
    for (let round = 0; round < 5; round += 1) {
      typing.type('ending\r')
      await typing.expect(/\r\n49999\r\n50000\r\nTHE END\r\n/)
      await typing.expect(/prompt> $/)
    }
  })

  it('should be interrupted by Ctrl-C, and its code be passed on', async () => {
    const typing = await shell()
    typing.type('interrupted; echo "code $?"\r')
    await typing.expect(/ready/)
    typing.type('\u0003')
    await typing.expect(/caught\r\ncode 5\r\n/)
  })

  it('should let somebody page', async () => {
    const typing = await shell()
    typing.type('leaf\r')
    await typing.expect(/\b20\b[\s\S]*:/)
    typing.type('G')
    await typing.expect(/\b500\b[\s\S]*\(END\)/)
    typing.type('q')
    await typing.expect(/prompt> $/)
  })

  it('should let somebody edit a file of the workdir', async () => {
    const { id } = await host.workspace.json<{ id: string }>('show', loop)
    const file = join(host.workspace.home, 'loops', id, 'workdir', 'text')
    await writeFile(file, 'before\n')
    const typing = await shell()
    typing.type('scribble text\r')
    await typing.expect(/before/)
    typing.type('oafter\u001b:wq\r')
    await typing.expect(/prompt> $/)
    expect(await readFile(file, 'utf8')).toBe('before\nafter\n')
  })
})
