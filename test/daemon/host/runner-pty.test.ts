import { mkdir, readFile, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { HostBed } from '../../harness/host-caller.ts'

const size = { cols: 90, rows: 30 }
const env = { PATH: '/usr/bin:/bin', TERM: 'xterm' }

describe('a host command on a terminal', () => {
  let bed: HostBed

  beforeAll(async () => {
    bed = await HostBed.make()
    bed.pool.warm()
  })
  afterAll(() => bed[Symbol.asyncDispose]())

  it('should have a terminal of the size of its caller, and only the variables it was given', async () => {
    const script = 'tty; stty size; pwd -P; cat /proc/self/environ | tr "\\0" "\\n" | sort; exit 4'
    const { out, err, code } = await (await bed.sh(script, { size, env })).all()
    const wanted = [
      /\/dev\/pts\/\d+/,
      /30 90/,
      bed.directory,
      /PATH=\/usr\/bin:\/bin/,
      `PWD=${bed.directory}`,
      /TERM=xterm/,
    ]
    const lines = out.split('\r\n')
    expect(lines.pop()).toBe('')
    expect(lines).toEqual(wanted.map((line) => expect.stringMatching(line)))
    expect([err, code]).toEqual(['', 4])
  })

  it('should follow the size of its caller', async () => {
    const caller = await bed.sh('trap "stty size" WINCH; echo ready; while :; do sleep 0.05; done', { size, env })
    await caller.expect(/ready/)
    caller.control({ type: 'resize', cols: 132, rows: 50 })
    await caller.expect(/50 132/)
    caller.control({ type: 'signal', signal: 'SIGTERM' })
    expect(await caller.exit).toBe(143)
  })

  it('should be interrupted by a byte', async () => {
    const caller = await bed.sh('echo ready; exec sleep 60', { size, env })
    await caller.expect(/ready/)
    await caller.write(Buffer.from('\x03'))
    expect(await caller.exit).toBe(130)
  })

  it('should take a password without showing it', async () => {
    const script = 'stty -echo; printf "Password: "; read -r word; stty echo; echo; echo "$word" | tr a-z A-Z'
    const caller = await bed.sh(script, { size, env })
    await caller.expect(/Password: /)
    await caller.write(Buffer.from('secret\r'))
    expect(await caller.exit).toBe(0)
    expect(caller.out.toString()).toBe('Password: \r\nSECRET\r\n')
  })

  it('should get every byte as a word', async () => {
    const words = [Buffer.from([0xff, 0x81, 0x88, 10, 10]), Buffer.from('=\\\n'), Buffer.from('%s $(id)')]
    const script = 'stty -opost; printf "%s\\0" "$0" "$@"'
    const caller = await bed.call('/bin/sh', ['-c', script, 'zero', ...words], { size, env })
    expect(await caller.exit).toBe(0)
    expect(caller.out.toString('latin1')).toBe(['zero', ...words.map((word) => word.toString('latin1')), ''].join('\0'))
  })

  it.each([100, 10_000, 1_000_000])(
    'should lose nothing of an output of %i bytes',
    async (bytes) => {
      const script = `stty -opost; head -c ${bytes} /dev/zero | tr "\\0" x; printf end`
      for (let round = 0; round < 15; round += 1) {
        const caller = await bed.sh(script, { size, env })
        expect(await caller.exit).toBe(0)
        expect(caller.bytes).toBe(bytes + 3)
        expect(caller.out.subarray(-4).toString()).toBe('xend')
      }
    },
    60_000,
  )

  it('should keep its last output for a caller that is behind', async () => {
    const caller = await bed.sh('stty -opost; head -c 1500000 /dev/zero | tr "\\0" x; printf end', { size, env })
    caller.socket.pause()
    await sleep(1500)
    caller.socket.resume()
    expect(await caller.exit).toBe(0)
    expect(caller.bytes).toBe(1_500_003)
  })

  it('should be over although its terminal was stopped by its user', async () => {
    const caller = await bed.sh('echo ready; sleep 0.5', { size, env })
    await caller.expect(/ready/)
    await caller.write(Buffer.from('\x13'))
    expect(await caller.exit).toBe(0)
  })

  it('should give input to nobody but its command, and hear its caller while it reads none', async () => {
    const caller = await bed.sh('stty raw -echo; echo ready; exec sleep 60', { size, env })
    await caller.expect(/ready/)
    await caller.write(Buffer.alloc(900_000, 'x'))
    caller.control({ type: 'signal', signal: 'SIGINT' })
    expect(await caller.exit).toBe(130)
    expect(caller.out.toString()).toBe('ready\n')
  })

  it('should get a long input whole', async () => {
    const caller = await bed.sh('stty raw -echo; echo ready; head -c 300000 | cksum', { size, env })
    await caller.expect(/ready/)
    await caller.write(Buffer.alloc(300_000, 'abc'))
    expect(await caller.exit).toBe(0)
    const plain = await bed.sh('head -c 300000 | cksum')
    await plain.write(Buffer.alloc(300_000, 'abc'))
    expect(caller.out.toString()).toContain((await plain.all()).out.trim())
  })

  it.each([
    ['/nowhere/x', [], 127],
    ['/etc/passwd', [], 126],
    ['/bin/true', ['link'], 126],
    ['/bin/true', ['none'], 126],
  ])('should say that %s in %j cannot be run', async (path, names, code) => {
    await mkdir(join(bed.directory, 'there'), { recursive: true })
    await symlink('there', join(bed.directory, 'link')).catch(() => undefined)
    const caller = await bed.call(path, [], { size, env, directory: { from: bed.directory, names } })
    expect(await caller.exit).toBe(code)
    expect(caller.err).toMatch(/^loopat-host: .+\r\n$/)
    expect(caller.messages).toEqual([{ type: 'exit', code }])
  })

  it('should have a process of its own, which goes when it is over', async () => {
    const first = await bed.sh('echo ready; read -r line', { size, env })
    const second = await bed.sh('echo ready; read -r line', { size, env })
    await Promise.all([first.expect(/ready/), second.expect(/ready/)])
    await vi.waitFor(async () => {
      const words = await Promise.all(bed.pool.pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8')))
      // The two, and the next one.
      expect(words.filter((line) => line.includes('terminal'))).toHaveLength(3)
    }, 5000)
    for (const caller of [first, second]) await caller.write(Buffer.from('\r'))
    expect(await Promise.all([first.exit, second.exit])).toEqual([0, 0])
    await vi.waitFor(() => expect(bed.pool.pids).toHaveLength(2), 5000)
  })
})
