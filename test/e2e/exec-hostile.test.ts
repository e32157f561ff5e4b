import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** What is in a loop may do to its own agent what it likes: its commands still run, and nobody else notices. */
describe('a loop that turns on what runs its commands', () => {
  let workspace: TestWorkspace
  let daemon: number

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', 'hostile')
    await workspace.ok('create', 'calm')
    daemon = await workspace.daemonPid()
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  const inside = (script: string, input?: string) =>
    workspace.loopctl(['exec', '--shell', script, 'hostile'], input === undefined ? {} : { input })

  /** Both loops run commands, with the right output and the right code, in the daemon that was there before. */
  async function expectWork(): Promise<void> {
    const ask = (loop: string) =>
      workspace.loopctl(['exec', '--shell', 'read word; echo "$word"; exit 7', loop], { input: 'on\n' })
    const outcomes = await Promise.all([ask('hostile'), ask('calm'), ask('hostile'), ask('calm')])
    for (const outcome of outcomes) expect(outcome).toEqual({ code: 7, stdout: 'on\n', stderr: '' })
    expect(await workspace.daemonPid()).toBe(daemon)
  }

  it.each([
    [
      'kills it',
      'cd /proc; for p in [0-9]*; do grep -qs "control/[a]gent" "$p/cmdline" && ! grep -qs while "$p/cmdline" && kill -9 "$p"; done; :',
    ],
    [
      'says that everything has ended',
      'for s in /loopat/control/room/*/status; do for n in 0 1 2 3 4 5 6 7 8 9; do for t in 1 2 3 4; do echo "x $n $t 0"; done; done >"$s"; done',
    ],
    [
      'floods it with nonsense',
      'for s in /loopat/control/room/*/status; do yes nonsense >"$s" & done; sleep 1; kill $(jobs -p); :',
    ],
    ['reads the commands of others', 'cat /loopat/control/room/*/*/command* >/tmp/stolen & sleep 2; kill $!; :'],
    [
      'holds on to the outputs of others',
      'for p in /loopat/control/room/*/*/out /loopat/control/room/*/*/err; do sleep 3 1<>"$p" & done; :',
    ],
    [
      'stops all shells that wait',
      'cd /proc; for p in [0-9]*; do grep -qs "control/[r]oom" "$p/cmdline" && kill -STOP "$p"; done; :',
    ],
    [
      'names other rooms',
      'for n in ../../x /etc . "" "$(seq 99999 | tr -d "\\n")"; do timeout 1 sh -c "echo \\"\\$1 99\\" >/loopat/control/answer" sh "$n"; done; :',
    ],
    ['asks for shells without end', 'for g in /loopat/control/room/*/go; do timeout 1 yes "" >"$g"; done; :'],
  ])('should be served when it %s', async (_what, script) => {
    await expectWork()
    await inside(script)
    await expectWork()
  })

  it('should not be able to put anything into the place of pipes', async () => {
    const { code, stderr } = await inside(
      'cd /loopat/control && ln -s /etc/passwd link; mkfifo fifo; rm -rf room; mv answer away',
    )
    expect(code).not.toBe(0)
    expect(stderr.match(/Read-only file system/g)?.length).toBeGreaterThanOrEqual(3)
    await expectWork()
  })
})
