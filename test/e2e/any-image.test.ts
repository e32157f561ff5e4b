import { lstat, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ResultOf } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bareImage, skipsPodman, type TestImage } from '../harness/podman.ts'
import { TestTerminal } from '../harness/pty.ts'
import { buildSandboxImage, dropSandboxImage } from '../harness/sandbox-image.ts'
import { alpineLikeImage, emptyImage } from '../harness/shell-image.ts'
import { makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

type Inspected = ResultOf<'loop/inspect'>

/** The same for every image that a loop may have: what a loop is does not depend on it. */
describe.skipIf(skipsPodman())('a loop', () => {
  let workspace: TestWorkspace
  let data: string
  let sandbox: string
  const made: TestImage[] = []

  beforeAll(async () => {
    workspace = await makeWorkspace()
    data = join(workspace.directory, 'data')
    await mkdir(join(data, 'operator'), { recursive: true })
    await mkdir(join(data, 'loop'))
    for (const name of ['operator/file', 'loop/file', 'single']) await writeFile(join(data, name), `${name}\n`)
    const operator = `[[mounts]]\nsrc = "${data}/operator"\ndst = "/data/operator"\n`
    // Names the tiny image no more: the sandbox image is the one to build.
    await writeFile(join(workspace.home, 'config.toml'), operator)
    sandbox = await buildSandboxImage(workspace)
    const tag = (kind: string) => `localhost/loopat-test-any-${kind}:${process.pid}`
    made.push(await alpineLikeImage(workspace.engine, tag('alpine')))
    made.push(await bareImage(workspace.engine, tag('busybox')))
    made.push(await emptyImage(workspace.engine, tag('empty')))
    await workspace.ok('vault', 'create', 'work')
    await set('from the vault', 'TOKEN')
    await set('machine x\n', '--home', '.netrc')
  }, 600_000)

  afterAll(async () => {
    await workspace.loopctl(['rm', '--force', ...KINDS])
    for (const image of made) await image[Symbol.asyncDispose]()
    await dropSandboxImage(workspace)
    await workspace[Symbol.asyncDispose]()
  })

  async function set(input: string, ...entry: string[]): Promise<void> {
    expect(await workspace.loopctl(['vault', 'set', 'work', ...entry], { input })).toMatchObject({ code: 0 })
  }

  const imageOf = (kind: string) => made.find(({ tag }) => tag.includes(`-${kind}:`))?.tag ?? sandbox

  const KINDS = ['debian', 'alpine', 'busybox'] as const
  describe.each(KINDS)('of the image %s', (loop) => {
    const inside = (script: string, ...options: string[]) => workspace.ok('exec', ...options, loop, 'sh', '-c', script)
    const inspect = () => workspace.json<Inspected>('inspect', loop)

    async function containerId(): Promise<string> {
      return (await workspace.json<{ container: { id: string } }>('show', loop)).container.id
    }

    it('should run commands as the user whose files are ours, with its home, and as root', async () => {
      const mounts = ['--mount', `${data}/loop:/data/loop:rw`, '--mount', `${data}/single:~/deep/single`]
      await workspace.ok('create', '--name', loop, '--image', imageOf(loop), '--vault', 'work', ...mounts)
      const { id, paths } = await workspace.json<{ id: string; paths: Record<string, string> }>('show', loop)
      const script = 'id -u; id -un; echo "$HOME"; echo ~loopat; pwd; umask; touch ~/mine work'
      expect(await inside(script)).toBe(
        ['2000', 'loopat', '/home/loopat', '/home/loopat', `/loopat/loop/${id}/workdir`, '0022'].join('\n'),
      )
      for (const path of [join(paths.home ?? '', 'mine'), join(paths.workdir ?? '', 'work')]) {
        expect((await lstat(path)).uid).toBe(process.getuid?.())
      }
      expect(await inside('id -u; echo installed >/usr/bin/tool', '-u', 'root')).toBe('0')
    })

    it('should have the variables of the vault and its own in commands, with a terminal and without', async () => {
      expect(await inside('echo "$TOKEN $PLAIN"; ls /loopat/control/env | wc -l', '-u', 'root')).toMatch(
        /^from the vault \n/,
      )
      const before = await containerId()
      await set(`changed for ${loop}`, 'TOKEN')
      await workspace.ok('env', 'set', loop, 'PLAIN=plain')
      expect(await inside('echo "$TOKEN, $PLAIN"')).toBe(`changed for ${loop}, plain`)
      expect(await inside('echo "$TOKEN"', '-e', 'TOKEN=mine')).toBe('mine')
      const terminal = new TestTerminal(`'${workspace.program}' shell ${loop}`, workspace.env)
      await terminal.expect(/[$#] /)
      terminal.type('echo "is $TOKEN, $PLAIN in $HOME"; exit 3\r')
      await terminal.expect(new RegExp(`is changed for ${loop}, plain in /home/loopat\\r\\n`))
      expect(await terminal.exited).toBe(3)
      await set('from the vault', 'TOKEN')
      expect(await containerId()).toBe(before)
      expect((await workspace.loopctl(['exec', loop, 'no-such-program'])).code).toBe(127)
      expect((await workspace.loopctl(['exec', loop, '/etc/passwd'])).code).toBe(126)
    })

    it('should run jobs with the same variables, and know how they end', async () => {
      const script = 'echo "$TOKEN, $PLAIN"; id -u; echo err >&2; sleep 0.2; exit 4'
      const id = await workspace.ok('job', 'start', loop, 'sh', '-c', script)
      expect((await workspace.loopctl(['job', 'wait', loop, id])).code).toBe(4)
      const outputs = { stdout: 'from the vault, plain\n2000\n', stderr: 'err\n' }
      expect(await workspace.loopctl(['job', 'logs', loop, id])).toEqual({ code: 0, ...outputs })
      const long = await workspace.ok('job', 'start', loop, 'sleep', '1000')
      await workspace.ok('job', 'kill', loop, long)
      expect((await workspace.loopctl(['job', 'wait', loop, long])).code).toBe(143)
      expect((await workspace.loopctl(['job', 'start', loop, 'no-such-program'])).code).toBe(127)
      expect((await workspace.loopctl(['job', 'start', loop, '/etc/passwd'])).code).toBe(126)
    })

    it('should have mounts of the daemon, the configuration, itself and the vault', async () => {
      const { mounts } = await inspect()
      const asked = mounts.filter(({ origin }) => origin !== 'built-in')
      expect(asked.map(({ target, origin, readOnly }) => [target, origin, readOnly])).toEqual([
        ['/data/operator', 'operator', true],
        ['/data/loop', 'loop', false],
        ['/home/loopat/.netrc', 'vault', false],
        ['/home/loopat/deep/single', 'loop', true],
      ])
      const script = `
        cat /data/operator/file /data/loop/file ~/.netrc ~/deep/single
        for path in /data/operator/x /data/loop/x ~/deep/single ~/deep/x /loopat/control/x /loopat/run/x; do
          if ( : >>$path ) 2>/dev/null; then echo $path; fi
        done`
      expect((await inside(script)).split('\n')).toEqual([
        ...['operator/file', 'loop/file', 'machine x', 'single'],
        ...['/data/loop/x', '/home/loopat/deep/x', '/loopat/run/x'],
      ])
    })

    it('should be changed with what was installed, and be as it was when that does not work', async () => {
      expect(await workspace.json('update', loop, '--dns', '192.0.2.53')).toMatchObject({ action: 'recreated' })
      const seen = 'cat /usr/bin/tool; ls ~/mine work; grep nameserver /etc/resolv.conf; id -un; echo $TOKEN'
      const expected = 'installed\n/home/loopat/mine\nwork\nnameserver 192.0.2.53\nloopat\nfrom the vault'
      expect(await inside(seen)).toBe(expected)
      const before = await containerId()
      const { code, stderr } = await workspace.loopctl(['update', loop, '--image', imageOf('empty'), '--no-dns'])
      expect(code).toBe(1)
      expect(stderr).toContain('was taken back')
      expect(await containerId()).toBe(before)
      expect(await inside(seen)).toBe(expected)
      expect(await inspect()).toMatchObject({ drift: null, image: { wanted: imageOf(loop) }, dns: ['192.0.2.53'] })
      expect(await workspace.containers()).toHaveLength(1)
    })

    it('should be fresh at every start once it is ephemeral, but for home and workdir', async () => {
      await workspace.ok('update', loop, '--persistence', 'ephemeral')
      expect(await inside('cat /usr/bin/tool')).toBe('installed')
      await workspace.ok('stop', loop)
      expect(await workspace.json('start', loop)).toMatchObject([{ action: 'recreated' }])
      expect(await inside('[ -e /usr/bin/tool ] || echo gone; ls ~/mine work')).toBe('gone\n/home/loopat/mine\nwork')
    })

    it('should get a new container when its vault has one more file, once, and say why', async () => {
      const before = await containerId()
      await set('x', '--home', `.${loop}rc`)
      expect((await inspect()).drift).toBe(`the mount /home/loopat/.${loop}rc was added`)
      expect(await workspace.json('start', loop)).toMatchObject([{ action: 'recreated' }])
      expect(await workspace.json('start', loop)).toMatchObject([{ action: 'none' }])
      expect(await containerId()).not.toBe(before)
      expect(await workspace.ok('show', loop)).toContain(`the mount /home/loopat/.${loop}rc was added`)
      expect(await inside(`ls ~/mine work; cat ~/.${loop}rc`)).toBe('/home/loopat/mine\nwork\nx')
      await workspace.ok('vault', 'unset', 'work', '--home', `.${loop}rc`)
      await workspace.ok('rm', '--force', loop)
      expect(await workspace.engine.image.list(`localhost/loopat-layer-${workspace.name}:`)).toEqual([])
    })
  })

  it('should say that an image without a shell has none, and be there to be given another one', async () => {
    const { code, stderr } = await workspace.loopctl(['create', '--name', 'no-shell', '--image', imageOf('empty')])
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('has /bin/sh and sleep') })
    const { stderr: refused } = await workspace.loopctl(['exec', 'no-shell', 'true'])
    expect(refused).toContain('has /bin/sh and sleep')
    await workspace.ok('update', 'no-shell', '--image', imageOf('busybox'))
    expect(await workspace.ok('exec', 'no-shell', 'id', '-un')).toBe('loopat')
    await workspace.ok('rm', '--force', 'no-shell')
  })
})
