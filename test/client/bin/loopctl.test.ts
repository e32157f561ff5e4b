import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

/** The launchers differ only in what they start. */
const launchers = [
  { name: 'loopctl', path: 'client/bin/loopctl', main: 'client/dist/loopctl/main.js' },
  { name: 'loopatd', path: 'daemon/bin/loopatd', main: 'daemon/dist/main.js' },
]
const repository = fileURLToPath(new URL('../../..', import.meta.url))
const echo = 'console.log(JSON.stringify([process.argv.slice(2), process.env.NODE_COMPILE_CACHE, process.execPath]))'

describe.each(launchers)('launcher $name', ({ name, path, main }) => {
  let root: string

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'loopat launcher '))
    cpSync(join(repository, path), join(root, path))
    mkdirSync(join(root, main, '..'), { recursive: true })
    writeFileSync(join(root, main), echo)
    writeFileSync(join(root, 'package.json'), '{"type":"module"}')
  })

  afterEach(() => {
    rmSync(root, { recursive: true })
  })

  function launch(command: string, args: string[] = [], env: NodeJS.ProcessEnv = {}) {
    const base = { PATH: process.env.PATH, HOME: root }
    const run = spawnSync(command, args, { encoding: 'utf8', cwd: root, env: { ...base, ...env } })
    return { status: run.status, stdout: run.stdout, stderr: run.stderr }
  }

  it('should hand on every argument as it is', () => {
    const run = launch(join(root, path), ['exec', 'a b', '', '$HOME', '--', '*'])
    expect(JSON.parse(run.stdout)[0]).toEqual(['exec', 'a b', '', '$HOME', '--', '*'])
  })

  it('should find its program through a chain of links', () => {
    mkdirSync(join(root, 'links'))
    symlinkSync(join('..', path), join(root, 'links', 'one'))
    symlinkSync('one', join(root, 'links', name))
    expect(launch(join(root, 'links', name), ['x']).stdout).toContain('["x"]')
  })

  it('should find its program when it is called by name', () => {
    const bin = join(root, path, '..')
    expect(launch(name, ['x'], { PATH: `${bin}:${process.env.PATH}` }).stdout).toContain('["x"]')
  })

  it('should say what to do when it is not built', () => {
    rmSync(join(root, main))
    const run = launch(join(root, path), ['version'])
    expect(run).toMatchObject({ status: 1, stdout: '' })
    expect(run.stderr).toContain('npm run build')
  })

  it('should say what to install when there is no Node.js', () => {
    const run = launch('/bin/sh', [join(root, path)], { PATH: '/nonexistent' })
    expect(run).toMatchObject({ status: 1, stdout: '' })
    expect(run.stderr).toContain('install Node.js 20.19 or newer')
  })

  it('should prefer the runtime that LOOPAT_NODE names', () => {
    const node = join(root, 'my node')
    writeFileSync(node, '#!/bin/sh\necho mine "$2"\n')
    chmodSync(node, 0o755)
    expect(launch(join(root, path), ['x'], { LOOPAT_NODE: node }).stdout).toBe('mine x\n')
  })

  it('should keep compiled code in the cache directory of the user, unless told where', () => {
    const cacheOf = (env: NodeJS.ProcessEnv) => JSON.parse(launch(join(root, path), [], env).stdout)[1]
    expect(cacheOf({})).toBe(join(root, '.cache/loopat/compile'))
    expect(cacheOf({ XDG_CACHE_HOME: join(root, 'c') })).toBe(join(root, 'c/loopat/compile'))
    expect(cacheOf({ NODE_COMPILE_CACHE: join(root, 'own') })).toBe(join(root, 'own'))
  })
})

describe('launcher loopctl', () => {
  it('should exit with 125 when exec cannot even begin', () => {
    const run = spawnSync(join(repository, 'client/bin/loopctl'), ['exec', 'l', '--', 'true'], {
      env: { PATH: process.env.PATH, LOOPAT_NODE: '/nonexistent/node' },
    })
    expect(run.status).toBe(125)
  })
})

describe('launcher loopctl in a clone', () => {
  let root: string

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'loopat launcher '))
    const path = 'client/bin/loopctl'
    cpSync(join(repository, path), join(root, path))
    for (const made of ['client/dist/loopctl', 'client/dist/cli', 'protocol/dist']) {
      mkdirSync(join(root, made), { recursive: true })
      writeFileSync(join(root, made, 'main.js'), `console.log('${made}')`)
      writeFileSync(join(root, made, 'tsconfig.tsbuildinfo'), '')
      age(`${made}/main.js`, 60)
      age(`${made}/tsconfig.tsbuildinfo`, 120)
    }
    writeFileSync(join(root, 'package.json'), '{"type":"module"}')
  })
  afterEach(() => rmSync(root, { recursive: true }))

  function age(path: string, seconds: number): void {
    const time = Date.now() / 1000 - seconds
    utimesSync(join(root, path), time, time)
  }

  const launch = () => spawnSync(join(root, 'client/bin/loopctl'), [], { encoding: 'utf8' }).stdout.trim()

  it('should start the bundle', () => {
    expect(launch()).toBe('client/dist/loopctl')
  })

  it.each(['client/dist/cli', 'protocol/dist'])('should start what was compiled when %s is newer', (made) => {
    age(`${made}/tsconfig.tsbuildinfo`, 1)
    expect(launch()).toBe('client/dist/cli')
  })

  it('should start what was compiled when there is no bundle', () => {
    rmSync(join(root, 'client/dist/loopctl'), { recursive: true })
    expect(launch()).toBe('client/dist/cli')
  })
})
