import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { VERSION } from '../../protocol/version.ts'
import { ROOT } from '../architecture/source.ts'
import { makeWorkspace } from '../harness/workspace.ts'

const PACKAGES = ['client', 'daemon', 'protocol']

describe('the packages', () => {
  let directory: string
  let tarballs: string[]

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'package-'))
    tarballs = await packAll(directory)
    await npm(directory, ['install', '--global', `--prefix=${join(directory, 'prefix')}`, ...QUICK, ...tarballs])
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  it('should hold what runs, its licence and its templates, and nothing else', async () => {
    expect(tarballs.map((path) => basename(path))).toEqual(PACKAGES.map((name) => `loopatd-${name}-${VERSION}.tgz`))
    const found: string[] = []
    for (const name of PACKAGES) {
      const files = await readdir(join(directory, 'prefix/lib/node_modules/@loopatd', name), { recursive: true })
      found.push(...files.filter((file) => !/^node_modules\b/.test(file)).map((file) => `${name}/${file}`))
    }
    for (const name of PACKAGES) expect(found).toContain(`${name}/LICENSE`)
    expect(found).toContain('client/dist/loopctl/main.cjs')
    expect(found.filter((file) => file.startsWith('client/dist/cli/'))).toEqual([])
    expect(found).toContain('daemon/systemd/loopatd@.socket')
    expect(found).toContain('daemon/templates/config.toml')
    expect(found).toContain('daemon/templates/sandbox/files/etc/sudoers.d/loopat')
    expect(found.filter((file) => /(?<!\.d)\.ts$|\.map$|\.tsbuildinfo$|\/test\//.test(file))).toEqual([])
    expect(found.filter((file) => /^daemon\/.*\.d\.ts$/.test(file))).toEqual([])
  })

  it('should give a machine without the clone a loopctl that makes loops, and takes itself away', async () => {
    const bin = join(directory, 'prefix/bin')
    await using workspace = await makeWorkspace({ bin })
    expect(await workspace.ok('version')).toBe(`loopctl ${VERSION}`)
    const { checks } = await workspace.json<{ checks: { name: string; status: string }[] }>('doctor')
    expect(checks.filter(({ status }) => status === 'failed')).toEqual([])
    expect(await workspace.ok('create', 'packed')).toBe('packed')
    expect(await workspace.ok('exec', 'packed', 'echo', 'works')).toBe('works')
    const command = await readFile(`/proc/${await workspace.daemonPid()}/cmdline`, 'utf8')
    expect(command).toContain(`${await realpath(join(directory, 'prefix'))}/`)
    const { verdicts } = await workspace.json<{ verdicts: { removed: boolean }[] }>('uninstall', '--yes')
    expect(verdicts.map(({ removed }) => removed)).toEqual([true, true, true, true, true])
    expect(existsSync(workspace.home)).toBe(false)
  })

  it('should bring a Node.js for machines whose own is older than 22', async () => {
    await using workspace = await makeWorkspace({ bin: join(directory, 'prefix/bin'), image: false })
    const old = join(workspace.directory, 'old')
    await mkdir(old)
    await writeFile(join(old, 'node'), '#!/bin/sh\ntest "$1" = -p && echo fit\n', { mode: 0o755 })
    const env = { PATH: `${old}:${process.env.PATH}`, XDG_CACHE_HOME: join(workspace.directory, 'cache') }
    expect(await workspace.loopctl(['daemon', 'start'], { env })).toMatchObject({ code: 0 })
    const command = await readFile(`/proc/${await workspace.daemonPid()}/cmdline`, 'utf8')
    expect(command).toContain('/client/node_modules/node-linux-')
  })

  it('should be gone after npm uninstall', async () => {
    const prefix = join(directory, 'prefix')
    const names = PACKAGES.map((name) => `@loopatd/${name}`)
    await npm(directory, ['uninstall', '--global', `--prefix=${prefix}`, ...QUICK, ...names])
    expect(await readdir(join(prefix, 'bin'))).toEqual([])
  })
})

/** What npm would do beside the installation; no package that we use needs its install script. */
const QUICK = ['--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--no-update-notifier']

/** Packs a copy of what is packed, so that packing changes nothing in the clone, and takes nothing else from it. */
async function packAll(directory: string): Promise<string[]> {
  const copy = join(directory, 'copy')
  const packed = join(directory, 'packed')
  await mkdir(packed)
  const filter = (source: string) => basename(source) !== 'node_modules'
  for (const part of ['LICENSE', 'package.json', 'systemd', 'templates', ...PACKAGES]) {
    await cp(join(ROOT, part), join(copy, part), { recursive: true, filter })
  }
  await npm(copy, ['pack', '--workspaces', `--pack-destination=${packed}`])
  return (await readdir(packed)).sort().map((name) => join(packed, name))
}

/** Registries fail now and then. @throws Error with npm's words */
async function npm(cwd: string, args: readonly string[]): Promise<void> {
  await promisify(execFile)('npm', [...args, '--fetch-retries=5', '--loglevel=error'], { cwd })
}
