import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { UninstallLine, UninstallPlan, UninstallVerdict } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TestHost } from '../host.ts'
import { startStub } from '../stub-daemon.ts'

const plan: UninstallPlan = {
  workspace: 'w',
  home: '/h',
  loops: 2,
  mirrors: 1,
  vaults: 0,
  noPodman: null,
  resources: [
    { kind: 'container', name: 'loopat-w-1' },
    { kind: 'data', name: '/h' },
  ],
  kept: [],
}
const verdicts: UninstallVerdict[] = plan.resources.map((resource) => ({ ...resource, removed: true, reason: null }))
const [first, second] = verdicts as [UninstallVerdict, UninstallVerdict]

const PLAN = `workspace w: 2 loops, 1 mirror in /h
  container  loopat-w-1
  data       /h
`

describe('loopctl uninstall', () => {
  let directory: string
  let env: Record<string, string>

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'uninstall-'))
    env = { LOOPATD: join(directory, 'loopatd'), HOME: directory }
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))

  /** A loopatd that says these things, and writes down how it was called. */
  async function loopatdSays(planned: UninstallLine[], done: UninstallLine[] = []): Promise<void> {
    const print = (lines: UninstallLine[]) => lines.map((line) => `echo '${JSON.stringify(line)}'`).join('\n')
    const script = `#!/bin/sh
echo "$*" >>${directory}/calls
if [ "\${2-}" = --plan ]; then
:
${print(planned)}
else
:
${print(done)}
fi
`
    await writeFile(join(directory, 'loopatd'), script, { mode: 0o755 })
  }

  const calls = async () => (await readFile(join(directory, 'calls'), 'utf8')).trim().split('\n')

  it('should show the plan, and with --yes remove and tell of each thing', async () => {
    await loopatdSays([{ plan }], [{ plan }, ...verdicts.map((verdict) => ({ verdict }))])
    expect(await new TestHost({ env }).run('uninstall', '--yes')).toEqual({
      code: 0,
      stdout: `${PLAN}removed  container  loopat-w-1\nremoved  data       /h\n`,
      stderr: '',
    })
    expect(await calls()).toEqual(['uninstall --plan', 'uninstall'])
  })

  it('should fail when something is left', async () => {
    const left = { ...second, removed: false, reason: 'it is in use' }
    await loopatdSays([{ plan }], [{ verdict: first }, { verdict: left }])
    const { code, stdout, stderr } = await new TestHost({ env }).run('uninstall', '-y')
    expect({ code, stderr }).toEqual({ code: 1, stderr: '1 thing could not be removed.\n' })
    expect(stdout).toContain('FAILED   data       /h: it is in use\n')
  })

  it('should take silence for a no where nobody can be asked', async () => {
    await loopatdSays([{ plan }])
    expect(await new TestHost({ env, input: 'yes\n' }).run('uninstall')).toEqual({
      code: 1,
      stdout: PLAN,
      stderr: 'Nobody can be asked here: confirm with --yes.\nNothing was removed.\n',
    })
    expect(await calls()).toEqual(['uninstall --plan'])
  })

  it.each([
    ['y', true],
    ['YES', true],
    ['', false],
    ['no', false],
    ['yesterday', false],
  ])('should ask people, and take "%s" for what it is', async (answer, isYes) => {
    await loopatdSays([{ plan }], [{ verdict: first }])
    const tty = { stdin: true, stderr: true }
    const { code } = await new TestHost({ env, tty, input: `${answer}\n` }).run('uninstall')
    expect(code).toBe(isYes ? 0 : 1)
    expect((await calls()).includes('uninstall')).toBe(isYes)
  })

  it('should print one object with --json', async () => {
    await loopatdSays([{ plan }], [{ verdict: first }])
    const { stdout } = await new TestHost({ env }).run('uninstall', '--yes', '--json')
    expect(JSON.parse(stdout)).toEqual({ plan, units: [], confirmed: true, verdicts: [first] })
  })

  it('should be content with nothing to remove, and fail over what it must leave', async () => {
    await loopatdSays([{ plan: { ...plan, resources: [] } }])
    expect(await new TestHost({ env }).run('uninstall')).toMatchObject({ code: 0, stderr: '' })
    await loopatdSays([{ plan: { ...plan, kept: ['/h/diary'] } }], [{ verdict: first }])
    const { code, stdout } = await new TestHost({ env }).run('uninstall', '--yes')
    expect(code).toBe(1)
    expect(stdout).toContain("  stays      /h/diary, which is not loopat's\n")
  })

  it('should take the daemon out of systemd first', async () => {
    await loopatdSays([{ plan }], [{ verdict: first }])
    const units = join(directory, '.config/systemd/user')
    await mkdir(join(units, 'loopatd@test.service.d'), { recursive: true })
    const mark =
      '# Written by `loopctl daemon install`; `loopctl daemon uninstall` removes it. Changes: systemctl --user edit.\n'
    for (const file of ['loopatd@.service', 'loopatd@.socket', 'loopatd@test.service.d/home.conf']) {
      await writeFile(join(units, file), mark)
    }
    const systemctl = `#!/bin/sh\necho "$*" >>${directory}/calls\n`
    await writeFile(join(directory, 'systemctl'), systemctl, { mode: 0o755 })
    const host = new TestHost({ env: { ...env, PATH: `${directory}:${process.env.PATH}` } })
    const { code, stdout } = await host.run('uninstall', '--yes')
    expect(code).toBe(0)
    expect(stdout).toContain('  unit       loopatd@test.service\n  unit       loopatd@test.socket\n')
    const order = (await calls()).filter((call) => /disable|uninstall/.test(call))
    expect(order).toEqual([
      'uninstall --plan',
      '--user disable --quiet --now loopatd@test.socket loopatd@test.service',
      'uninstall',
    ])
    expect(await readdir(units)).toEqual([])
  })

  it('should hand on what loopatd refuses, and say when it is another loopatd', async () => {
    await loopatdSays([{ error: { name: 'engine_unavailable', message: 'podman is ill', next: 'Mend it.' } }])
    expect(await new TestHost({ env }).run('uninstall', '--yes')).toMatchObject({
      code: 5,
      stderr: 'loopctl: podman is ill\n  → Mend it.\n',
    })
    await loopatdSays([])
    expect(await new TestHost({ env }).run('uninstall', '--yes')).toMatchObject({
      code: 6,
      stderr: expect.stringContaining('Install the same version of loopctl and loopatd.'),
    })
  })

  it.each([
    [{ clients: 2, leases: 0 }, '1 other connection, 0 commands'],
    [{ clients: 1, leases: 3 }, '0 other connections, 3 commands'],
  ])('should refuse while the daemon serves others: %o', async (use, words) => {
    await using stub = await startStub()
    stub.on('daemon/status', () => ({ pid: 1, home: '/h', ...use }))
    await loopatdSays([{ plan }])
    const { code, stderr } = await new TestHost({ env, socket: stub.socket }).run('uninstall', '--yes')
    expect(code).toBe(4)
    expect(stderr).toContain(words)
    await expect(calls()).rejects.toMatchObject({ code: 'ENOENT' })
  })
})
