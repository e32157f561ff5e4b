import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CHANNEL, encodeFrame } from '@loopatd/protocol/frame'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { HostBed } from '../../harness/host-caller.ts'
import { Random } from '../../harness/random.ts'
import { heldBytes } from '../lib/held-bytes.ts'

const NUL = Buffer.from([0])

function randomBytesOf(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)))
}

/** Mostly hostile: what shells, `printf` and text could change. */
function randomWord(random: Random): Buffer {
  const hostile = [
    '',
    ' ',
    "'",
    '"',
    '\\',
    '\\0101',
    '$(id)',
    '`id`',
    '*',
    '%s',
    '-n',
    '--',
    '=x',
    '\n\n',
    'ü\n',
    '\\c',
  ]
  if (random.below(2) === 0) return Buffer.from(random.pick(hostile))
  return Buffer.from(randomBytesOf(random, random.below(40)).map((byte) => (byte === 0 ? 10 : byte)))
}

describe('a host command on pipes', () => {
  let bed: HostBed

  beforeAll(async () => {
    bed = await HostBed.make()
  })
  afterAll(() => bed[Symbol.asyncDispose]())

  it('should get words and input, and give output and code, byte for byte', async () => {
    const random = Random.fromEnvironment('HOST_SEED')
    const script = join(bed.directory, 'say')
    await writeFile(script, '#!/bin/sh\ncode=$1; shift\nprintf "%s\\0" $# "$@"\ncat\nexit "$code"\n')
    await chmod(script, 0o755)
    for (let round = 0; round < 50; round += 1) {
      const code = random.below(256)
      const words = Array.from({ length: random.below(6) }, () => randomWord(random))
      const input = randomBytesOf(random, random.below(random.pick([10, 100_000, 1_500_000])))
      const caller = await bed.call(script, [String(code), ...words])
      await caller.write(input)
      expect(await caller.eof().exit).toBe(code)
      const wanted = Buffer.concat([Buffer.from(`${words.length}\0`), ...words.flatMap((word) => [word, NUL]), input])
      expect(caller.out.equals(wanted), caller.out.subarray(0, 300).toString('latin1')).toBe(true)
      expect(caller.err).toBe('')
      expect(await bed.lastEnd()).toEqual({ code, reason: null, bytesIn: input.length, bytesOut: wanted.length })
    }
  }, 60_000)

  it('should bear the name it was called by', async () => {
    const { out } = await (await bed.call('/bin/cat', ['/proc/self/cmdline'], { argv0: 'my cat' })).all()
    expect(out).toBe('my cat\0/proc/self/cmdline\0')
  })

  it('should keep its outputs apart, after the word that it runs and before its code', async () => {
    const caller = await bed.sh('echo out; echo err >&2; echo out2; exit 3')
    expect(await caller.all()).toEqual({ out: 'out\nout2\n', err: 'err\n', code: 3 })
    expect(caller.messages).toEqual([{ type: 'started' }, { type: 'exit', code: 3 }])
  })

  it('should be able to open its outputs by name', async () => {
    const caller = await bed.sh('echo err >/dev/stderr; echo out >/dev/stdout; cat')
    expect(await caller.all()).toEqual({ out: 'out\n', err: 'err\n', code: 0 })
  })

  it('should lose no byte of fifty outputs of a megabyte', async () => {
    const one = async () => {
      const caller = await bed.sh('head -c 1000000 /dev/zero | tr "\\0" x; printf end; head -c 48576 /dev/zero >&2')
      expect(await caller.eof().exit).toBe(0)
      expect(caller.bytes).toBe(1_048_579)
      expect(caller.out.subarray(-4).toString()).toBe('xend')
    }
    for (let round = 0; round < 10; round += 1) await Promise.all(Array.from({ length: 5 }, one))
  })

  it('should get what came to the daemon with the first frame, and the end of its input', async () => {
    const head = Buffer.concat([encodeFrame(CHANNEL.stdin, Buffer.from('early ')), encodeFrame(CHANNEL.stdin, NUL)])
    const caller = await bed.sh('cat; echo after', { head: head.subarray(0, 8) })
    caller.socket.write(head.subarray(8))
    expect(await caller.all()).toEqual({ out: 'early \0after\n', err: '', code: 0 })
  })

  it('should hear signals although it reads no input', async () => {
    const script = 'trap "echo hup" HUP; trap "echo usr" USR1; echo ready; while :; do sleep 0.05; done'
    const caller = await bed.sh(script)
    await caller.expect(/ready/)
    await caller.write(Buffer.alloc(900_000))
    caller.control({ type: 'signal', signal: 'SIGHUP' })
    caller.control({ type: 'resize', cols: 10, rows: 10 })
    await caller.expect(/hup/)
    caller.control({ type: 'signal', signal: 'SIGUSR1' })
    await caller.expect(/usr/)
    caller.control({ type: 'signal', signal: 'SIGTERM' })
    expect(await caller.exit).toBe(143)
  })

  it.each([
    ['SIGINT', 130],
    ['SIGQUIT', 131],
    ['SIGUSR2', 140],
  ])('should reach all of its group with %s', async (signal, code) => {
    const caller = await bed.sh('(trap "exit 9" INT; echo ready; exec sleep 60) | cat; exit 5')
    await caller.expect(/ready/)
    caller.control({ type: 'signal', signal })
    expect(await caller.exit).toBe(code)
  })

  it('should do without input when it does not want it', async () => {
    const caller = await bed.sh('exec 0<&-; sleep 0.2; echo done')
    await caller.write(Buffer.alloc(5_000_000))
    expect(await caller.all()).toMatchObject({ out: 'done\n', code: 0 })
  })

  it.each([
    ['/nowhere/x', {}, 127],
    ['/etc/passwd', {}, 126],
    ['/tmp', {}, 126],
    ['/etc/passwd/x', {}, 126],
    ['/bin/true', { directory: { from: '/nowhere', names: [] } }, 126],
    ['/bin/true', { directory: { from: '/proc', names: ['self'] } }, 126],
  ])('should say that %s with %j cannot be run', async (path, options, code) => {
    const caller = await bed.call(path, [], options)
    expect(await caller.exit).toBe(code)
    expect(caller.err).toMatch(/^loopat-host: .+\n$/)
    expect(caller.messages).toEqual([{ type: 'exit', code }])
    const invalid = await bed.call(path, [Buffer.from([0xff])], options)
    expect(await invalid.exit).toBe(code)
  })

  it('should have no variables but those it was given, and see no descriptors but its three', async () => {
    const env = { A: 'b', PATH: '/usr/bin:/bin' }
    const caller = await bed.sh('tr "\\0" "\\n" </proc/self/environ; ls /proc/self/fd | tr "\\n" " "', { env })
    const { out } = await caller.all()
    expect(out).toMatch(/^A=b\nPATH=\/usr\/bin:\/bin\nPWD=.*\n[ 0-9]+$/)
    // This process may have inherited some that it passes on to everybody.
    const { stdout } = spawnSync('/bin/sh', ['-c', 'ls /proc/self/fd | tr "\n" " "'], { encoding: 'utf8' })
    expect(out.split('\n').at(-1)).toBe(stdout)
  })

  it('should never leave its directory when somebody swaps it for a link', async () => {
    const inside = join(bed.directory, 'work/a/b')
    const outside = join(bed.directory, 'outside')
    await mkdir(inside, { recursive: true })
    await mkdir(join(outside, 'b'), { recursive: true })
    let over = false
    let swaps = 0
    const swap = async () => {
      const a = join(bed.directory, 'work/a')
      while (!over) {
        await rename(a, `${a}.away`)
        await symlink(outside, a)
        await rm(a)
        await rename(`${a}.away`, a)
        swaps += 1
      }
    }
    const swapping = swap()
    const seen = { inside: 0, refused: 0 }
    for (let round = 0; round < 150; round += 1) {
      const directory = { from: join(bed.directory, 'work'), names: ['a', 'b'] }
      const caller = await bed.call('/bin/sh', ['-c', 'pwd -P; echo "$PWD"'], { directory })
      const { out, code } = await caller.all()
      expect(out).not.toContain('outside')
      if (code === 0) {
        expect(out).toMatch(/work\/a(\.away)?\/b\n/)
        seen.inside += 1
      } else seen.refused += 1
    }
    over = true
    await swapping
    expect(swaps).toBeGreaterThan(100)
    expect(seen.inside).toBeGreaterThan(0)
    expect(seen.refused).toBeGreaterThan(0)
  }, 60_000)

  it('should be over when something that it left behind keeps its outputs', async () => {
    const file = join(bed.directory, 'lives')
    const begun = performance.now()
    const caller = await bed.sh(`(sleep 5; echo yes >${file}) & echo done`)
    expect(await caller.all()).toEqual({ out: 'done\n', err: '', code: 0 })
    expect(performance.now() - begun).toBeLessThan(4900)
    await vi.waitFor(async () => expect(await readFile(file, 'utf8')).toBe('yes\n'), 10_000)
  })

  it('should keep its last output for a caller that is behind', async () => {
    const caller = await bed.sh('head -c 700000 /dev/zero; echo end')
    caller.socket.pause()
    await sleep(1500)
    caller.socket.resume()
    expect(await caller.eof().exit).toBe(0)
    expect(caller.bytes).toBe(700_004)
  })

  it('should carry 500 MB both ways with flat memory', async () => {
    const caller = await bed.call('/bin/cat', [])
    await once(caller.socket, 'data')
    const [runner = 0] = bed.pool.pids
    const most = 100e6
    const peak = { runner: 0, daemon: 0 }
    const before = { runner: await residentOf(runner), daemon: heldBytes() }
    let received = 0
    caller.onOutput = (piece) => {
      received += piece.length
    }
    const watch = setInterval(() => {
      void residentOf(runner).then((bytes) => {
        peak.runner = Math.max(peak.runner, bytes)
      })
      peak.daemon = Math.max(peak.daemon, heldBytes(before.daemon + most))
    }, 50)
    const chunk = Buffer.alloc(1_000_000, 'loop')
    const begun = performance.now()
    for (let sent = 0; sent < 500; sent += 1) await caller.write(chunk)
    expect(await caller.eof().exit).toBe(0)
    clearInterval(watch)
    const seconds = (performance.now() - begun) / 1000
    const grown = (peak.runner - before.runner) / 1e6
    console.log(`500 MB there and back: ${(500 / seconds).toFixed(0)} MB/s, runner grew by ${grown.toFixed(1)} MB`)
    expect(received).toBe(500_000_000)
    expect(grown).toBeLessThan(150)
    expect(peak.daemon - before.daemon).toBeLessThan(most)
  }, 60_000)

  it('should be slowed down by a caller that does not read', async () => {
    const caller = await bed.sh('yes | head -c 50000000; echo written >&2')
    caller.socket.pause()
    await sleep(1000)
    const [runner = 0] = bed.pool.pids
    expect(await residentOf(runner)).toBeLessThan(250e6)
    caller.socket.resume()
    expect(await caller.eof().exit).toBe(0)
    expect(caller.bytes).toBe(50_000_008)
  })
})

async function residentOf(pid: number): Promise<number> {
  return Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}
