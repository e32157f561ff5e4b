import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Paths, pathsOf, prepareHome } from '../../daemon/paths.ts'

describe('prepareHome', () => {
  let directory: string

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-paths-'))
    await mkdir(join(directory, 'templates'))
    await writeFile(join(directory, 'templates', 'config.toml'), '# template\n')
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))

  function paths(home = join(directory, 'home')): Paths {
    const workspace = { name: 'w', home, runtimeDir: '/run/w', socket: '/run/w/loopatd.sock' }
    return pathsOf(workspace, join(directory, 'templates'))
  }

  it('should make a private home with a configuration from the template', async () => {
    expect(await prepareHome(paths())).toEqual({ isNew: true })
    expect((await readdir(paths().home)).sort()).toEqual(['config.toml', 'log', 'loops', 'mirrors'])
    for (const path of [paths().home, paths().loops, paths().mirrors])
      expect((await stat(path)).mode & 0o777).toBe(0o700)
    expect(await readFile(paths().config, 'utf8')).toBe('# template\n')
    expect((await stat(paths().config)).mode & 0o777).toBe(0o600)
  })

  it('should leave what is there as it is, but keep others out', async () => {
    await prepareHome(paths())
    await writeFile(paths().config, '# mine\n')
    await chmod(paths().home, 0o755)
    expect(await prepareHome(paths())).toEqual({ isNew: false })
    expect(await readFile(paths().config, 'utf8')).toBe('# mine\n')
    expect((await stat(paths().home)).mode & 0o777).toBe(0o700)
  })

  it('should leave a home alone that its owner has made read-only', async () => {
    await prepareHome(paths())
    await chmod(paths().home, 0o500)
    expect(await prepareHome(paths())).toEqual({ isNew: false })
    expect((await stat(paths().home)).mode & 0o777).toBe(0o500)
    await chmod(paths().home, 0o755)
  })

  it('should say what is wrong with a home that cannot be one', async () => {
    await writeFile(join(directory, 'home'), '')
    await expect(prepareHome(paths())).rejects.toMatchObject({
      code: 'storage_failed',
      message: expect.stringMatching(/home cannot be prepared: EEXIST/),
      next: expect.stringContaining('LOOPAT_HOME'),
    })
  })
})
