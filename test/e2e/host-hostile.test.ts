import { existsSync } from 'node:fs'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HostCommands, hostCommands } from '../harness/host-commands.ts'
import { skipsPodman } from '../harness/podman.ts'

/** Speaks to the gateway as nobody should: `send` writes bytes, `hold` waits, what comes back is printed. */
const PEER = String.raw`
use strict; use warnings; use Socket;
sub frame { my ($channel, $payload) = @_; return pack("CN", $channel, length $payload) . $payload }
sub request { return frame(3, join("\0", "run", "1", "/", "", "", @_)) }
sub peer { socket my $s, PF_UNIX, SOCK_STREAM, 0 or die; connect $s, pack_sockaddr_un("/loopat/control/host.sock") or die "connect: $!"; binmode $s; return $s }
sub send_all { my ($s, $bytes) = @_; my $at = 0; local $SIG{PIPE} = "IGNORE"; while ($at < length $bytes) { my $n = syswrite $s, $bytes, length($bytes) - $at, $at; last unless $n; $at += $n } }
sub answer { my ($s) = @_; my $got = ""; while (sysread $s, my $part, 65536) { $got .= $part } return $got }
`

/** Whatever a loop does to get more than it was granted: the host is not touched, it is on record, and the daemon stays. */
describe.skipIf(skipsPodman())('a loop that wants more of the host than it was granted', () => {
  let host: HostCommands
  let canary: string
  let daemon: number
  let workdir: string

  beforeAll(async () => {
    host = await hostCommands({ image: 'sandbox' })
    canary = join(host.workspace.directory, 'canary')
    await host.workspace.ok('create', 'hostile')
    await host.workspace.ok('create', 'calm')
    const { id } = await host.workspace.json<{ id: string }>('show', 'hostile')
    workdir = join(host.workspace.home, 'loops', id, 'workdir')
    for (const loop of ['hostile', 'calm']) await host.workspace.ok('host', 'grant', loop, 'dump fixed words')
    await host.workspace.ok('host', 'grant', 'hostile', 'place *')
    await host.workspace.ok('host', 'grant', 'hostile', 'both')
    daemon = await host.workspace.daemonPid()
  }, 600_000)
  afterAll(() => host[Symbol.asyncDispose](), 120_000)

  const inside = (script: string, input?: string | Buffer) => host.inside('hostile', script, input)
  const perl = (script: string) => host.workspace.loopctl(['exec', 'hostile', '--', 'perl', '-e', PEER + script])

  async function expectCalm(): Promise<void> {
    expect(existsSync(canary)).toBe(false)
    expect(await host.workspace.daemonPid()).toBe(daemon)
    expect((await host.inside('calm', 'loopat-host dump fixed words </dev/null')).stdout).toBe('fixed\0words\0')
  }

  /** Lines of the log that something adds. */
  async function denialsOf(doing: () => Promise<unknown>): Promise<number> {
    const count = async () => {
      const log = await host.log('hostile')
      return log.reduce((sum, { event, count: many }) => sum + (event === 'deny' ? 1 : (many ?? 0)), 0)
    }
    const before = await count()
    await doing()
    return (await count()) - before
  }

  it.each([
    ['another command', 'loopat-host canary CANARY'],
    ['a command by its path', 'loopat-host BIN/canary CANARY'],
    ['a way out of the path', 'loopat-host ../../BIN/canary CANARY'],
    ['nothing', "loopat-host ''"],
    ['a name that is an option', 'loopat-host -- --help'],
    ['options before the words', 'loopat-host dump -x fixed words'],
    ['the words in another order', 'loopat-host dump words fixed'],
    ['a word more', 'loopat-host dump fixed words more'],
    ['a word less', 'loopat-host dump fixed'],
    ['two dashes first', 'loopat-host dump -- fixed words'],
    ['a line break behind a word', `loopat-host dump fixed "words$(printf '\\nx')"`],
    ['a letter that looks alike', 'loopat-host dump fіxed words'],
    ['both words in one', "loopat-host dump 'fixed words'"],
    ['an empty word', "loopat-host dump fixed words ''"],
    ['bytes that are no text', `loopat-host dump fixed "words$(printf '\\377')"`],
    ['the name with a line break', `loopat-host "$(printf 'both\\nx')"`],
  ])('should not get %s', async (_what, script) => {
    const filled = script.replaceAll('CANARY', canary).replaceAll('BIN', host.bin)
    const denials = await denialsOf(async () => expect((await inside(filled)).code).toBe(126))
    expect(denials).toBe(1)
    await expectCalm()
  })

  it.each([
    ['no request at all', 'my $s = peer(); send_all($s, frame(0, "hello")); print length answer($s)'],
    ['an unknown channel', 'my $s = peer(); send_all($s, frame(9, "hello")); print length answer($s)'],
    [
      'a length without end',
      'my $s = peer(); send_all($s, pack("CN", 3, 0xffffffff) . "x" x 100000); print length answer($s)',
    ],
    [
      'ten megabytes of arguments',
      'my $s = peer(); send_all($s, request("dump", "x" x 10_000_000)); print length answer($s)',
    ],
    [
      'a request that is none',
      String.raw`my $s = peer(); send_all($s, frame(3, "run\0" . "2\0/\0\0\0dump")); print length answer($s)`,
    ],
    [
      'a request without a command',
      String.raw`my $s = peer(); send_all($s, frame(3, "run\0" . "1\0/\0\0\0")); print length answer($s)`,
    ],
    [
      'a directory of its choice',
      String.raw`my $s = peer(); send_all($s, frame(3, join("\0", "run", "1", "", "", "", "dump", "fixed", "words"))); print length answer($s)`,
    ],
    [
      'a terminal of no size',
      String.raw`my $s = peer(); send_all($s, frame(3, join("\0", "run", "1", "/", "0x0", "", "dump", "fixed", "words"))); print length answer($s)`,
    ],
    [
      'half a request, and goes',
      'my $s = peer(); send_all($s, substr(request("dump", "fixed", "words"), 0, 20)); close $s; sleep 1',
    ],
    [
      'half a request, and ends its side',
      'my $s = peer(); send_all($s, substr(request("dump", "fixed", "words"), 0, 20)); shutdown $s, 1; answer($s)',
    ],
    ['nothing, and goes', 'my $s = peer(); close $s; sleep 1'],
  ])('should not get further with %s', async (_what, script) => {
    const denials = await denialsOf(() => perl(script))
    expect(denials).toBe(1)
    await expectCalm()
  })

  it('should be cut off when it floods what it was granted', async () => {
    const script = String.raw`
      my $s = peer(); send_all($s, request("both"));
      send_all($s, frame(3, "{\"type\":\"resize\",\"cols\":0,\"rows\":-1}"));
      for (1..50) { send_all($s, frame(0, "y" x 1000000)) } answer($s);
      $s = peer(); send_all($s, request("both") . ("z" x 3_000_000)); answer($s);
      $s = peer(); send_all($s, request("both") . frame(3, "{") . frame(1, "x") . frame(2, "x")); answer($s);
      print "fine"`
    expect((await perl(script)).stdout).toBe('fine')
    await expectCalm()
  })

  it('should not keep others from the host by stalling', async () => {
    const stalling = perl(
      String.raw`my @all = map { my $s = peer(); send_all($s, "\3"); $s } 1..40; sleep 3; print scalar @all`,
    )
    await expectCalm()
    expect((await inside('loopat-host both')).code).toBe(0)
    expect((await stalling).stdout).toBe('40')
    await expectCalm()
  })

  it('should not be led out of its workdir by a link in a race', async () => {
    const secret = join(host.workspace.directory, 'secret')
    await mkdir(secret, { recursive: true })
    await writeFile(join(secret, 'canary-file'), '')
    await mkdir(join(workdir, 'real', 'sub'), { recursive: true })
    await mkdir(join(workdir, 'decoy'), { recursive: true })
    await symlink(secret, join(workdir, 'decoy', 'sub'))
    const { stdout } = await inside(
      [
        `(while :; do mv real away; mv decoy real; mv real decoy; mv away real; done 2>/dev/null) & racer=$!`,
        `i=0; while [ $i -lt 200 ]; do cd "/loopat/loop/$LOOPAT_LOOP_ID/workdir/real/sub" 2>/dev/null && loopat-host place 2>/dev/null; cd /; i=$((i+1)); done`,
        'kill $racer',
      ].join('\n'),
    )
    expect(stdout).not.toContain('canary-file')
    expect(stdout).not.toContain(secret)
    await expectCalm()
  }, 240_000)

  it('should not find the way of another loop', async () => {
    const { id } = await host.workspace.json<{ id: string }>('show', 'calm')
    const other = join(host.workspace.runtimeDir, 'control', id, 'host.sock')
    expect(existsSync(other)).toBe(true)
    const { stdout } = await inside(
      `ls -d ${other} /loopat/control/../*/host.sock /loopat/loop/*/host.json 2>/dev/null; :`,
    )
    expect(stdout.trim().split('\n')).toEqual(['/loopat/control/../control/host.sock'])
    expect((await inside('rm /loopat/control/host.sock || touch /loopat/control/bin/x')).code).not.toBe(0)
  })

  it('should not be granted a program that it can write, nor one from a directory that it can', async () => {
    await writeFile(join(workdir, 'mine'), '#!/bin/sh\n', { mode: 0o755 })
    const own = await host.workspace.loopctl(['host', 'grant', 'hostile', join(workdir, 'mine')])
    expect(own).toMatchObject({ code: 2, stderr: expect.stringContaining('which loops can write') })
    await symlink(join(workdir, 'mine'), join(host.bin, 'linked'))
    const linked = await host.workspace.loopctl(['host', 'grant', 'hostile', 'linked'])
    expect(linked).toMatchObject({ code: 2, stderr: expect.stringContaining('which loops can write') })
    // A directory of the path becomes writable afterwards: what was granted there does not run any more.
    await host.workspace.ok('create', '--name', 'writer', '--mount', `${host.bin}:/tools:rw`, 'A writer')
    const denied = await inside('loopat-host both')
    expect(denied).toMatchObject({ code: 127, stderr: expect.stringContaining('which loops can write') })
    await host.workspace.ok('rm', '--force', 'writer')
    expect((await inside('loopat-host both')).code).toBe(0)
  })

  it('should be told when its file of grants is nonsense, which changes nothing', async () => {
    const { id } = await host.workspace.json<{ id: string }>('show', 'hostile')
    const file = join(host.workspace.home, 'loops', id, 'host.json')
    const before = await readFile(file, 'utf8')
    await writeFile(file, `${before.slice(0, -20)}nonsense`)
    expect((await inside('loopat-host both')).code).toBe(0)
    expect((await inside(`loopat-host canary ${canary}`)).code).toBe(126)
    const list = await host.workspace.loopctl(['host', 'ls', 'hostile'])
    expect(list).toMatchObject({ code: 0, stderr: expect.stringContaining(file) })
    const refused = await host.workspace.loopctl(['host', 'grant', 'hostile', 'count'])
    expect(refused).toMatchObject({ code: 7, stderr: expect.stringContaining(file) })
    await writeFile(file, before)
    expect((await host.workspace.loopctl(['host', 'ls', 'hostile'])).stderr).toBe('')
    await expectCalm()
  })
})
