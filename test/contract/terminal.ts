import { text } from 'node:stream/consumers'
import { expect, it } from 'vitest'
import { drain, readUntil } from './exec.ts'
import { type GetSubject, Workshop } from './subject.ts'

/** What every engine promises about commands with a terminal. */
export function terminalContract(subject: GetSubject): void {
  it('should give the command a terminal of the size asked for, from the start', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const tty = { cols: 91, rows: 17 }
    const exec = await shop.exec(name, 'stty size; echo problem >&2; exit 3', { tty, stdin: true })
    const [stdout, stderr] = await Promise.all([text(exec.stdout), text(exec.stderr)])
    expect(stdout.replaceAll('\r', '')).toBe('17 91\nproblem\n')
    expect(stderr).toBe('')
    expect(await exec.exit).toEqual({ exitCode: 3 })
  })

  it('should resize the terminal while the command runs, and do nothing afterwards', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, 'echo ready; read line; stty size', { tty: { cols: 80, rows: 24 }, stdin: true })
    await readUntil(exec.stdout, (so) => so.includes('ready'))
    await exec.resize({ cols: 101, rows: 31 })
    exec.stdin.write('\n')
    expect(await text(exec.stdout)).toContain('31 101')
    expect(await exec.exit).toEqual({ exitCode: 0 })
    await exec.resize({ cols: 10, rows: 10 })
  })

  it('should ignore a resize without terminal', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, 'sleep 7777')
    drain(exec)
    await exec.resize({ cols: 10, rows: 10 })
    expect(await exec.kill('SIGKILL')).toBe(true)
    await exec.exit
  })

  it('should type the end of file when the input ends, also in the middle of a line', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const tty = { cols: 80, rows: 24 }
    for (const input of ['line\n', 'no line']) {
      const exec = await shop.exec(name, 'echo ready; cat >/dev/null; echo end', { tty, stdin: true })
      await readUntil(exec.stdout, (so) => so.includes('ready'))
      exec.stdin.end(input)
      expect(await text(exec.stdout)).toContain('end')
      expect(await exec.exit).toEqual({ exitCode: 0 })
    }
  })

  it('should send a signal to a command with terminal', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, 'echo ready; sleep 8888', { tty: { cols: 80, rows: 24 }, stdin: true })
    await readUntil(exec.stdout, (so) => so.includes('ready'))
    drain(exec)
    expect(await exec.kill('SIGKILL')).toBe(true)
    expect(await exec.exit).toEqual({ exitCode: 137 })
  })

  it('should say that a command with terminal was not found', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, '', { command: ['no-such-program'], tty: { cols: 80, rows: 24 }, stdin: true })
    drain(exec)
    await expect(exec.exit).rejects.toMatchObject({ kind: 'command_not_found' })
  })
}
