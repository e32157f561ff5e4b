import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { HostCommand } from '../../../daemon/host/host-run.ts'
import { PipeStock } from '../../../daemon/host/pipe-stock.ts'
import { type Starter, StarterStock } from '../../../daemon/host/starter.ts'

function commandOf(path: string, words: readonly (string | Buffer)[], env: Record<string, string> = {}): HostCommand {
  const argv = words.map((word) => Buffer.from(word))
  const directory = { from: '/usr', names: ['bin'] }
  return { path, argv, directory, env, size: undefined, maxMs: 10_000, maxOutputBytes: 1_000_000 }
}

describe('a process that waits to become a command', () => {
  let stock: StarterStock

  beforeEach(() => {
    stock = new StarterStock(new PipeStock())
  })
  // Those that nobody takes end with this process.
  async function one(): Promise<Starter> {
    return await vi.waitFor(() => {
      const found = stock.take()
      if (found === undefined) throw new Error('none waits')
      return found
    }, 10_000)
  }

  it('should become it with all bytes of its words, its environment and its directory', async () => {
    const odd = Buffer.from([0xff, 0x0a, 0x27, 0x5c, 0xc3])
    const words = ['my cat', '/proc/self/cmdline', '/proc/self/environ']
    const env = { A: 'b=c', EMPTY: '', TEXT: 'ü\n"$(id)' }
    const cat = await (await one()).become(commandOf('/bin/cat', words, env), '/usr/bin')
    expect(await text(cat.stdout)).toBe(`${words.join('\0')}\0A=b=c\0EMPTY=\0TEXT=ü\n"$(id)\0PWD=/usr/bin\0`)
    expect(await cat.exited).toBe(0)
    const script = 'printf %s "$1"; pwd -P; ls /proc/$$/fd | tr "\\n" " " >&2; exit 7'
    const sh = await (await one()).become(commandOf('/bin/sh', ['sh', '-c', script, '', odd]), '/usr/bin')
    const [out, err] = await Promise.all([sh.stdout.toArray(), text(sh.stderr ?? sh.stdout)])
    expect(Buffer.concat(out)).toEqual(Buffer.concat([odd, Buffer.from('/usr/bin\n')]))
    expect(err).not.toMatch(/\b3\b/)
    expect(await sh.exited).toBe(7)
  })

  it('should lead a session, and hear signals as any other program', async () => {
    const script = 'grep -E "^Sig(Ign|Blk)" /proc/self/status; cut -d " " -f 6 /proc/$$/stat; kill -PIPE $$'
    const sh = await (await one()).become(commandOf('/bin/sh', ['sh', '-c', script]), '/')
    expect(await text(sh.stdout)).toBe(`SigBlk:\t${'0'.repeat(16)}\nSigIgn:\t${'0'.repeat(16)}\n${sh.pid}\n`)
    expect(await sh.exited).toBe(141)
  })

  it.each([
    ['/nowhere/x', '/', 'ENOENT'],
    ['/etc/passwd', '/', 'EACCES'],
    ['/bin/true', '/nowhere', 'ENOENT'],
    ['/bin/true', '/etc/passwd', 'ENOTDIR'],
  ])('should say why it cannot become %s in %s', async (path, cwd, code) => {
    const starter = await one()
    await expect(starter.become(commandOf(path, ['x']), cwd)).rejects.toMatchObject({ code })
    await starter.exited
  })

  it('should say that the words are too long', async () => {
    const words = ['true', ...Array.from({ length: 40 }, () => 'x'.repeat(100_000))]
    await expect((await one()).become(commandOf('/bin/true', words), '/')).rejects.toMatchObject({ code: 'E2BIG' })
  })

  it('should be replaced when it was taken or has ended', async () => {
    for (let round = 0; round < 10; round += 1) {
      const yes = await (await one()).become(commandOf('/bin/echo', ['echo', String(round)]), '/')
      expect(await text(yes.stdout)).toBe(`${round}\n`)
    }
  })

  it('should end with the process that made it', async () => {
    const source = (path: string) => new URL(`../../../daemon/dist/host/${path}.js`, import.meta.url)
    const script = `
      import { PipeStock } from '${source('pipe-stock')}'
      import { StarterStock } from '${source('starter')}'
      setInterval(() => undefined, 1000)
      await new StarterStock(new PipeStock()).fill()
      console.log('ready')`
    const maker = spawn(process.execPath, ['--input-type=module', '--eval', script])
    await once(maker.stdout, 'data')
    const { pid = 0 } = maker
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
    const pids = children.trim().split(' ')
    expect(pids).toHaveLength(4)
    maker.kill('SIGKILL')
    await once(maker, 'exit')
    const commands = () =>
      Promise.all(pids.map((each) => readFile(`/proc/${each}/cmdline`, 'utf8').catch(() => 'gone')))
    await vi.waitFor(async () => expect(await commands()).toEqual(pids.map(() => 'gone')), 5000)
  })
})
