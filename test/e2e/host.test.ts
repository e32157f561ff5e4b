import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type LoopatClient } from '@loopatd/client'
import type { ApprovalInfo, GrantInfo } from '@loopatd/protocol'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type HostCommands, hostCommands } from '../harness/host-commands.ts'
import { skipsPodman } from '../harness/podman.ts'
import { Random } from '../harness/random.ts'
import { eventually, processesWith, residentBytes } from '../harness/workspace.ts'

/** Runs a command of the host for each line of its input, `ARGUMENT,ARGUMENT... INPUT` in hexadecimal digits each. */
const DRIVER = String.raw`
use strict; use warnings;
$| = 1;
# All at once: what perl has read ahead would be in the way of another input.
my @lines = <STDIN>;
for my $line (@lines) {
  chomp $line;
  my ($args, $input) = split / /, $line, -1;
  my @args = map { pack "H*", $_ } split /,/, $args, -1;
  open my $in, "+>", undef or die; binmode $in; print {$in} pack "H*", $input; seek $in, 0, 0;
  pipe my $out, my $end or die;
  my $pid = fork;
  if ($pid == 0) { open STDIN, "<&", $in; open STDOUT, ">&", $end; exec "loopat-host", @args; exit 99 }
  close $end; binmode $out; my $got = do { local $/; <$out> }; waitpid $pid, 0;
  print(($? >> 8), " ", unpack("H*", $got), "\n");
}`

describe.skipIf(skipsPodman())('a command of the host', () => {
  let host: HostCommands
  let loop: string

  beforeAll(async () => {
    host = await hostCommands({ config: 'approval = "6s"\n' })
    loop = 'work'
    await host.workspace.ok('create', loop)
    await host.workspace.ok('create', 'other')
  }, 600_000)
  afterAll(() => host[Symbol.asyncDispose](), 120_000)
  beforeEach(async () => {
    await host.workspace.loopctl(['host', 'revoke', loop, '--all'])
  })

  const grant = (...words: string[]) => host.workspace.json<GrantInfo>('host', 'grant', loop, ...words)
  const inside = (script: string, input?: string | Buffer) => host.inside(loop, script, input)
  const socket = async (name: string) => {
    const { id } = await host.workspace.json<{ id: string }>('show', name)
    return existsSync(join(host.workspace.runtimeDir, 'control', id, 'host.sock'))
  }

  it('should not be had without a grant: there is no socket, and it says what would help', async () => {
    expect(await socket(loop)).toBe(false)
    expect((await inside('ls /loopat/control')).stdout).not.toContain('host.sock')
    const { code, stdout, stderr } = await inside("loopat-host gh pr view 'it is' 12")
    expect({ code, stdout }).toEqual({ code: 126, stdout: '' })
    expect(stderr).toContain('may not run')
    expect(stderr).toContain(`loopctl host grant ${loop} `)
    // What it says is what helps, once it is made of a program that is there.
    const said = await inside("loopat-host dump one 'two three'")
    const command = /loopctl (host grant .*)$/m.exec(said.stderr)?.[1] ?? ''
    const made = await host.workspace.loopctl(['exec', '--shell', 'echo', loop])
    expect(made.code).toBe(0)
    const words = await host.program('say', `loopctl() { printf '%s\\n' "$@"; }; loopctl ${command}`)
    const { execFileSync } = await import('node:child_process')
    await host.workspace.ok(...execFileSync(words, { encoding: 'utf8' }).trimEnd().split('\n'))
    expect(await inside("loopat-host dump one 'two three' </dev/null")).toMatchObject({
      code: 0,
      stdout: 'one\0two three\0',
    })
    expect((await inside('loopat-host dump one')).code).toBe(126)
  })

  it('should run at once when it is granted, by its plain name, and not for others', async () => {
    await grant('both')
    expect(await socket(loop)).toBe(true)
    expect(await inside('both')).toEqual({ code: 0, stdout: 'to stdout\n', stderr: 'to stderr\n' })
    expect(await inside('loopat-host both')).toEqual({ code: 0, stdout: 'to stdout\n', stderr: 'to stderr\n' })
    expect(await inside('both more')).toMatchObject({ code: 126, stdout: '' })
    expect(await socket('other')).toBe(false)
    expect((await host.inside('other', 'loopat-host both')).code).toBe(126)
    expect((await host.inside('other', 'both')).code).toBe(127)
  })

  it('should be the same inside and outside: arguments, input, output and code, byte for byte', async () => {
    await grant('dump *')
    const random = Random.fromEnvironment('LOOPAT_HOST_SEED')
    const bytes = (length: number, isText: boolean) =>
      Buffer.from(Array.from({ length }, () => (isText ? 32 + random.below(95) : 1 + random.below(255))))
    const special = ['', "'", '"', '\\', '\n', '\n\n', '$(id)', '`id`', '*', '--', '-n', '%s\\0', ' ', 'é']
    const word = () => {
      const kind = random.below(3)
      if (kind === 0) return Buffer.from(random.pick(special))
      return bytes(random.below(kind === 1 ? 20 : 2000), kind === 1)
    }
    const rounds = Array.from({ length: 120 }, () => ({
      args: Array.from({ length: random.below(6) }, word),
      input: bytes(random.pick([0, 1, 5, 1000, 65_536, 200_000]), false),
    }))
    const lines = rounds.map(({ args, input }) => {
      const words = [Buffer.from('dump'), ...args].map((arg) => arg.toString('hex'))
      return `${words.join(',')} ${input.toString('hex')}\n`
    })
    const { code, stdout, stderr } = await host.workspace.loopctl(['exec', loop, '--', 'perl', '-e', DRIVER], {
      input: lines.join(''),
    })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const answers = stdout.trimEnd().split('\n')
    expect(answers.length).toBe(rounds.length)
    for (const [index, { args, input }] of rounds.entries()) {
      const wanted = Buffer.concat([...args.flatMap((arg) => [arg, Buffer.alloc(1)]), input])
      expect(answers[index], `round ${index} of seed ${random.seed}`).toBe(`0 ${wanted.toString('hex')}`)
    }
  })

  it('should pass codes and signals on', async () => {
    await grant('leave *')
    await grant('die *')
    await grant('trapped')
    const { stdout } = await inside('for n in 0 1 2 77 125 126 127 255; do loopat-host leave $n; echo $?; done')
    expect(stdout.trim().split('\n').map(Number)).toEqual([0, 1, 2, 77, 125, 126, 127, 255])
    const signals = await inside('for n in HUP INT QUIT KILL TERM; do loopat-host die $n; echo $?; done 2>/dev/null')
    expect(signals.stdout.trim().split('\n').map(Number)).toEqual([129, 130, 131, 137, 143])
    const trapped = await inside(
      'loopat-host trapped >/tmp/out & p=$!; until grep -q ready /tmp/out; do sleep 0.1; done; ' +
        'kill -TERM $p; wait $p; echo $?; cat /tmp/out',
    )
    expect(trapped.stdout).toBe('9\nready\ninterrupted\n')
  })

  it('should stream without end while the daemon stays as it is', async () => {
    await grant('zeros *')
    await grant('count')
    const pid = await host.workspace.daemonPid()
    await inside('loopat-host zeros 1000000 | wc -c')
    const before = await residentBytes(pid)
    expect((await inside('loopat-host zeros 500000000 | wc -c')).stdout.trim()).toBe('500000000')
    expect((await inside('head -c 500000000 /dev/zero | loopat-host count')).stdout.trim()).toBe('500000000')
    const grown = (await residentBytes(pid)) - before
    console.log(`1 GB through: the daemon grew by ${(grown / 1048576).toFixed(1)} MiB`)
    expect(grown).toBeLessThan(32 * 1048576)
  })

  it('should lose no byte of what it wrote last', async () => {
    await host.program('megabyte', 'seq 200000 | head -c 1000000')
    await grant('megabyte')
    const wanted = createHash('md5')
      .update(
        Array.from({ length: 200_000 }, (_, index) => `${index + 1}\n`)
          .join('')
          .slice(0, 1_000_000),
      )
      .digest('hex')
    const { stdout } = await inside('i=0; while [ $i -lt 40 ]; do loopat-host megabyte | md5sum; i=$((i+1)); done')
    expect(new Set(stdout.trim().split('\n'))).toEqual(new Set([`${wanted}  -`]))
  })

  it('should run in the workdir of the loop, or the same directory below it', async () => {
    await grant('place')
    const { id } = await host.workspace.json<{ id: string }>('show', loop)
    const workdir = join(host.workspace.home, 'loops', id, 'workdir')
    await mkdir(join(workdir, 'a b'), { recursive: true })
    await writeFile(join(workdir, 'a b', 'here'), '')
    expect((await inside("cd 'a b' && loopat-host place")).stdout).toBe(`${workdir}/a b\nhere\n`)
    expect((await inside('cd / && loopat-host place')).stdout.split('\n')[0]).toBe(workdir)
  })

  it('should see nothing of the environment inside but four variables', async () => {
    await grant('variables', '--env', 'GIVEN=by the grant')
    const { stdout } = await inside(
      'LD_PRELOAD= GIT_DIR=/x PATH=/evil:$PATH HOME=/evil FOO=bar TERM=dumb COLUMNS=99 NO_COLOR=1 GIVEN=evil loopat-host variables',
    )
    const env = new Map(
      stdout
        .trim()
        .split('\n')
        .map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    )
    expect(env.get('GIVEN')).toBe('by the grant')
    expect(env.get('PATH')).toBe(`${host.bin}:/usr/bin:/bin`)
    expect([env.get('TERM'), env.get('COLUMNS'), env.get('NO_COLOR')]).toEqual(['dumb', '99', '1'])
    expect([env.get('FOO'), env.get('GIT_DIR'), env.get('LOOPAT_HOME'), env.get('LD_PRELOAD')]).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ])
    expect(env.get('HOME')).toBe(host.workspace.env.HOME)
  })

  it('should end at once when its grant is taken back, or its time is over', async () => {
    const { id } = await grant('wait *')
    const running = inside('loopat-host wait 300.25')
    await eventually('it runs', async () => (await processesWith(['sleep', '300.25'])).length > 0)
    await host.workspace.ok('host', 'revoke', loop, id)
    expect((await running).code).not.toBe(0)
    expect(await processesWith(['sleep', '300.25'])).toEqual([])
    expect(await socket(loop)).toBe(false)
    await grant('wait *', '--for', '6s')
    const expiring = inside('loopat-host wait 301.25')
    await eventually('it runs', async () => (await processesWith(['sleep', '301.25'])).length > 0)
    expect((await expiring).code).not.toBe(0)
    await eventually('the socket is gone', async () => !(await socket(loop)))
    expect(await processesWith(['sleep', '301.25'])).toEqual([])
  })

  it('should prefer what was said last, and the loop to the workspace', async () => {
    await host.workspace.ok('host', 'grant', '--all-loops', 'both')
    expect((await host.inside('other', 'loopat-host both')).code).toBe(0)
    await grant('both', '--deny')
    expect((await inside('loopat-host both')).code).toBe(126)
    await grant('both', '--allow')
    expect((await inside('loopat-host both')).code).toBe(0)
    await host.workspace.ok('host', 'revoke', '--all-loops', '--all')
    expect((await host.inside('other', 'loopat-host both')).code).toBe(126)
    expect(await socket('other')).toBe(false)
  })

  it('should name what a repository asks for, and grant nothing by that', async () => {
    const { id } = await host.workspace.json<{ id: string }>('show', loop)
    const file = join(host.workspace.home, 'loops', id, 'workdir', 'mise.toml')
    await writeFile(file, '[host]\nclis = ["both", "../x", 7]\n')
    await host.workspace.ok('restart', loop)
    const { code, stderr } = await inside('both')
    expect(code).toBe(126)
    expect(stderr).toContain(`loopctl host grant ${loop} `)
    expect((await host.workspace.loopctl(['host', 'ls', loop])).stderr).toContain('both')
  })

  describe('that is to be approved', () => {
    let first: LoopatClient
    let second: LoopatClient

    beforeAll(async () => {
      first = await connect({ socket: host.workspace.socket })
      second = await connect({ socket: host.workspace.socket })
    })
    afterAll(async () => {
      await first.close()
      await second.close()
    })

    async function asked(script: string) {
      await using events = await second.event.subscribe({ kinds: ['host/approvalRequested', 'host/approvalSettled'] })
      const outcome = inside(script)
      const event = await events.next()
      if (event.value?.kind !== 'host/approvalRequested') throw new Error('nobody asked')
      return { outcome, approval: event.value.approval }
    }

    it('should run once when somebody approves it, and what is shown is exact', async () => {
      await grant('both *', '--ask')
      const { outcome, approval } = await asked(`loopat-host both 'a b' "$(printf 'x\\033[2Jy')"`)
      expect(approval).toMatchObject({
        loopName: loop,
        argv: ['both', 'a b', 'x\\u{1b}[2Jy'],
        program: join(host.bin, 'both'),
        grant: 'both *',
      })
      const pending = await host.workspace.json<ApprovalInfo[]>('host', 'pending')
      expect(pending.map(({ id }) => id)).toEqual([approval.id])
      expect(await host.workspace.ok('host', 'pending')).not.toContain('\u001b')
      await first.host.approve({ approval: approval.id })
      expect(await outcome).toMatchObject({ code: 0, stdout: 'to stdout\n' })
      await expect(first.host.approve({ approval: approval.id })).rejects.toMatchObject({ code: 'approval_not_found' })
      expect(await host.workspace.loopctl(['host', 'deny', approval.id])).toMatchObject({ code: 3 })
    })

    it('should be denied by a person, and by silence', async () => {
      await grant('both *', '--ask')
      const { outcome, approval } = await asked('loopat-host both x')
      await host.workspace.ok('host', 'deny', approval.id)
      expect((await outcome).code).toBe(126)
      const silent = await inside('loopat-host both x')
      expect(silent.code).toBe(126)
      expect(silent.stderr).toContain('in time')
    })

    it('should not ask again for what was approved for always, and for nothing else', async () => {
      await grant('dump *', '--ask')
      const { outcome, approval } = await asked(`loopat-host dump "$(printf 'a\\nb')" '*' </dev/null`)
      await host.workspace.ok('host', 'approve', approval.id, '--always')
      expect((await outcome).code).toBe(0)
      expect(await inside(`loopat-host dump "$(printf 'a\\nb')" '*' </dev/null`)).toMatchObject({
        code: 0,
        stdout: 'a\nb\0*\0',
      })
      const other = await asked(`loopat-host dump "$(printf 'a\\nb')" x </dev/null`)
      await host.workspace.ok('host', 'deny', other.approval.id)
      expect((await other.outcome).code).toBe(126)
      const denied = await asked('loopat-host dump secret </dev/null')
      await host.workspace.ok('host', 'deny', denied.approval.id, '--always')
      expect((await denied.outcome).code).toBe(126)
      expect((await inside('loopat-host dump secret </dev/null')).code).toBe(126)
      // Nobody is asked any more.
      expect((await first.host.pending()).approvals).toEqual([])
    })

    it('should ask no more when its caller is gone', async () => {
      await grant('both *', '--ask')
      const { outcome } = await asked('timeout -s KILL 3 loopat-host both gone')
      await outcome
      await eventually('nobody waits', async () => (await first.host.pending()).approvals.length === 0, { ms: 2000 })
    })
  })

  it('should be on record: who, what, why, how it ended; secrets are not', async () => {
    await grant('dump *')
    await inside('echo input | loopat-host dump --token hunter2 --password=hunter3 plain')
    await inside('loopat-host both')
    const log = await host.log(loop)
    const [start, end, deny] = log.slice(-3)
    const argv = ['dump', '--token', '***', '--password=***', 'plain']
    expect(start).toMatchObject({ event: 'start', argv, code: null })
    expect(end).toMatchObject({ event: 'end', argv, code: 0, reason: null, bytesIn: 6, session: start?.session })
    expect(deny).toMatchObject({ event: 'deny', argv: ['both'], code: 126, rule: 'no grant matches' })
    expect(JSON.stringify(log)).not.toContain('hunter')
  })

  it('should be refused where it amounts to the host, unless that is said', async () => {
    for (const name of ['sh', 'git', 'env', 'python3', 'awk']) {
      const { code, stderr } = await host.workspace.loopctl(['host', 'grant', loop, `${name} *`])
      if (stderr.includes('has no program')) continue
      expect({ name, code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('--full-access') })
    }
    expect(await grant('sh *', '--full-access')).toMatchObject({ fullAccess: true })
    expect((await inside("loopat-host sh -c 'echo $0 runs' me")).stdout).toBe('me runs\n')
  })
})
