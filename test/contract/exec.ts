import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { expect, it } from 'vitest'
import type { EngineExec } from '../../daemon/engine/engine.ts'
import { type GetSubject, Workshop } from './subject.ts'

const MIB = 1024 * 1024

/** What every engine promises about commands without a terminal. */
export function execContract(subject: GetSubject): void {
  it('should keep stdout and stderr apart and tell the exit code', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    expect(await shop.run(name, 'echo out; echo err >&2; exit 7')).toEqual({
      stdout: 'out\n',
      stderr: 'err\n',
      exitCode: 7,
    })
    expect(await shop.run(name, ':')).toEqual({ stdout: '', stderr: '', exitCode: 0 })
  })

  it('should pass environment and working directory', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const mount = { source: subject().directory, target: '/mnt/here', readOnly: false }
    const mounted = await shop.running({ name: shop.containerName('mounted'), mounts: [mount] })
    const env = { GREETING: 'hello\n=world' }
    expect((await shop.run(name, 'printf %s "$GREETING"', { env })).stdout).toBe(env.GREETING)
    await shop.run(mounted, 'echo from inside > file', { cwd: '/mnt/here' })
    expect((await shop.run(mounted, 'cat file', { cwd: '/mnt/here' })).stdout).toBe('from inside\n')
  })

  it('should pass binary input and output unchanged', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const data = randomBytes(20 * MIB)
    const exec = await shop.exec(name, 'cat', { stdin: true })
    const [hash] = await Promise.all([hashOf(exec.stdout), pipeline(Readable.from(slices(data)), exec.stdin)])
    expect(await exec.exit).toEqual({ exitCode: 0 })
    expect(hash).toBe(createHash('sha256').update(data).digest('hex'))
    expect(await text(exec.stderr)).toBe('')
  })

  it('should let the command see the end of its input', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, 'cat; echo end', { stdin: true })
    exec.stdin.write('some ')
    exec.stdin.end('input ')
    expect(await text(exec.stdout)).toBe('some input end\n')
    expect((await shop.run(name, 'cat; echo end')).stdout).toBe('end\n')
  })

  it('should deliver all output of a command that does not read its input', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, 'dd if=/dev/zero bs=65536 count=64 2>/dev/null; exit 3', { stdin: true })
    const input = pipeline(Readable.from(slices(randomBytes(8 * MIB))), exec.stdin).catch(() => undefined)
    let size = 0
    for await (const chunk of exec.stdout as AsyncIterable<Buffer>) {
      size += chunk.length
      // Slower than the command, so that output is under way when it ends.
      if (size < MIB) await new Promise((resolve) => setTimeout(resolve, 20))
    }
    expect(size).toBe(4 * MIB)
    expect(await exec.exit).toEqual({ exitCode: 3 })
    exec.close()
    await input
  })

  it('should deliver the output of a command that is satisfied with the first line', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    for (let round = 0; round < 5; round += 1) {
      const exec = await shop.exec(name, 'head -n 1', { stdin: true })
      const input = pipeline(Readable.from(endless()), exec.stdin).catch(() => undefined)
      expect(await text(exec.stdout)).toBe('line\n')
      expect(await exec.exit).toEqual({ exitCode: 0 })
      exec.close()
      await input
    }
  })

  it('should hold a command up whose output nobody reads', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, 'dd if=/dev/zero bs=65536 count=3200 2>/dev/null')
    exec.stderr.resume()
    const before = process.memoryUsage()
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const after = process.memoryUsage()
    expect(after.external + after.heapUsed - before.external - before.heapUsed).toBeLessThan(32 * MIB)
    expect(exec.stdout.readableLength).toBeLessThan(4 * MIB)
    let size = 0
    for await (const chunk of exec.stdout as AsyncIterable<Buffer>) size += chunk.length
    expect(size).toBe(200 * MIB)
    expect(await exec.exit).toEqual({ exitCode: 0 })
  })

  it('should say that a command was not found', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, '', { command: ['no-such-program', 'x'] })
    drain(exec)
    await expect(exec.exit).rejects.toMatchObject({ kind: 'command_not_found' })
    expect(await shop.run(name, 'exit 127')).toMatchObject({ exitCode: 127 })
    expect(await shop.run(name, 'no-such-program')).toMatchObject({ exitCode: 127, stdout: '' })
  })

  it('should say that a command cannot be executed', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const plain = await shop.exec(name, '', { command: ['/etc/passwd'] })
    drain(plain)
    await expect(plain.exit).rejects.toMatchObject({ kind: 'not_executable' })
    expect(await shop.run(name, 'exit 126')).toMatchObject({ exitCode: 126 })
  })

  it('should end a whole process group by a signal', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const script = 'sleep 1111 & echo $!; sh -c "sleep 2222 & echo \\$!; wait" & echo $!; echo ready; wait'
    const exec = await shop.exec(name, script)
    const other = await shop.exec(name, 'sleep 3333')
    drain(other)
    const output = await readUntil(exec.stdout, (so) => so.split('\n').length > 4)
    const pids = output.match(/\d+/g) ?? []
    expect(pids).toHaveLength(3)
    drain(exec)
    expect(await exec.kill('SIGTERM')).toBe(true)
    expect(await exec.exit).toEqual({ exitCode: 143 })
    for (const pid of pids) {
      await expect.poll(() => isAlive(shop, name, pid), { timeout: 5_000 }).toBe(false)
    }
    expect(await exec.kill('SIGKILL')).toBe(false)
    // The other command is not concerned.
    expect(await other.kill('SIGKILL')).toBe(true)
    expect(await other.exit).toEqual({ exitCode: 137 })
  })

  it('should reach what a command left behind in its group', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const left = '(trap "" TERM; echo ready; exec >/dev/null 2>&1; sleep 4444)'
    const exec = await shop.exec(name, `trap "exit 5" TERM; ${left} & echo $!; while :; do sleep 0.1; done`)
    // Two speak, in any order.
    const output = await readUntil(exec.stdout, (so) => so.split('\n').length > 2)
    expect(output).toContain('ready\n')
    const pid = /\d+/.exec(output)?.[0] ?? ''
    drain(exec)
    expect(await exec.kill('SIGTERM')).toBe(true)
    expect(await exec.exit).toEqual({ exitCode: 5 })
    expect(await isAlive(shop, name, pid)).toBe(true)
    expect(await exec.kill('SIGKILL')).toBe(true)
    await expect.poll(() => isAlive(shop, name, pid), { timeout: 5_000 }).toBe(false)
  })

  it('should leave a command alone whose streams are given up', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, 'echo $$; exec sleep 5555')
    const pid = (await readUntil(exec.stdout, (so) => so.endsWith('\n'))).trim()
    exec.close()
    exec.close()
    await expect(exec.exit).rejects.toMatchObject({ kind: 'connection_lost' })
    expect(await isAlive(shop, name, pid)).toBe(true)
    expect(await exec.kill('SIGKILL')).toBe(true)
  })

  it('should refuse commands in a container that does not run', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    await shop.engine.container.stop(name, 1)
    await expect(shop.exec(name, 'true')).rejects.toMatchObject({ kind: 'wrong_state' })
  })

  it('should end commands when their container stops, also when nobody reads them', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const quiet = await shop.exec(name, 'sleep 6666')
    drain(quiet)
    const unread = await shop.exec(name, 'exec yes')
    await shop.engine.container.stop(name, 1)
    expect(await shop.engine.container.inspect(name)).toMatchObject({ status: 'exited' })
    expect(await quiet.exit).toEqual({ exitCode: 137 })
    drain(unread)
    expect(await unread.exit).toEqual({ exitCode: 137 })
  })

  it('should run many commands side by side', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const results = await Promise.all(
      Array.from({ length: 12 }, (_, index) => shop.run(name, `echo ${index}; exit ${index}`)),
    )
    expect(results).toEqual(results.map((_, index) => ({ stdout: `${index}\n`, stderr: '', exitCode: index })))
  })
}

/** Reads and forgets both outputs. */
export function drain(exec: EngineExec): void {
  exec.stdout.resume()
  exec.stderr.resume()
}

/** Reads until what was read satisfies `isEnough`, and leaves the rest unread. */
export async function readUntil(stream: Readable, isEnough: (soFar: string) => boolean): Promise<string> {
  let soFar = ''
  while (!isEnough(soFar)) {
    const chunk: unknown = stream.read()
    if (chunk !== null) soFar += String(chunk)
    else if (stream.readableEnded || stream.destroyed) throw new Error(`ended after ${JSON.stringify(soFar)}`)
    else await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return soFar
}

/** Reports whether a process of the container runs; one that nobody has reaped yet does not. */
async function isAlive(shop: Workshop, container: string, pid: string): Promise<boolean> {
  const { exitCode } = await shop.run(container, `test -e /proc/${pid} && ! grep -q '^State:.*Z' /proc/${pid}/status`)
  return exitCode === 0
}

async function hashOf(stream: Readable): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of stream as AsyncIterable<Buffer>) hash.update(chunk)
  return hash.digest('hex')
}

function* slices(data: Buffer): Generator<Buffer> {
  for (let start = 0; start < data.length; start += 60_000) yield data.subarray(start, start + 60_000)
}

function* endless(): Generator<Buffer> {
  const lines = Buffer.from('line\n'.repeat(10_000))
  for (;;) yield lines
}
