import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseConfig, parseIdleMs, readConfig } from '../../daemon/config.ts'

describe('config.toml', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-config-'))
  })
  afterAll(() => rm(directory, { recursive: true }))

  const refused = (text: string) => {
    try {
      parseConfig(text, '/h/config.toml')
    } catch (error) {
      return error
    }
    throw new Error('was accepted')
  }

  it('should have defaults when there is no file', async () => {
    const config = await readConfig(join(directory, 'none.toml'))
    expect(config).toMatchObject({ daemon: { stop_loops: false, max_message_bytes: 8_388_608 }, repos: [], image: {} })
  })

  it('should accept the shipped template, whole and with every example switched on', async () => {
    const template = await readFile(new URL('../../templates/config.toml', import.meta.url), 'utf8')
    expect(parseConfig(template, 'x')).toEqual(parseConfig('', 'x'))
    const switchedOn = template.replace(/^# (\[\[?[a-z]+\]\]?|[a-z_]+ = .*)$/gm, '$1')
    expect(parseConfig(switchedOn, 'x').repos).toEqual([{ name: 'app', git: 'https://git.example/team/app.git' }])
    expect(parseConfig(switchedOn, 'x').git.key).toBe(join(homedir(), '.ssh/id_ed25519'))
  })

  it.each([
    ['an unknown table', '[daemon]\n\n[deamon]\nstop_loops = true\n', ':3: unknown key deamon'],
    ['an unknown key', '# x\n[daemon]\nstop_loop = true\n', ':3: unknown key daemon.stop_loop'],
    ['a wrong type', '[daemon]\ndrain_seconds = "10"\n', ':2: daemon.drain_seconds: '],
    ['a dotted key', 'daemon.drain_seconds = -1\n', ':1: daemon.drain_seconds: '],
    [
      'the second of an array',
      '[[repos]]\nname="a"\ngit="b"\n[[repos]]\nname = "x/y"\ngit="c"\n',
      ':5: repos.1.name: ',
    ],
    ['a missing key', '[[repos]]\nname="a"\n', ':1: repos.0.git: '],
    [
      'a name given twice',
      '[[repos]]\nname="a"\ngit="b"\n[[repos]]\nname="a"\ngit="c"\n',
      ':5: repos.1.name: "a" is named twice',
    ],
    ['a mount without a target', '[[mounts]]\nsrc = "/x"\n', ':1: mounts.0.dst: '],
    ['a mount with a mode', '[[mounts]]\nsrc="/x"\ndst="/y"\nmode = "rw"\n', ':4: unknown key mounts.0.mode'],
    ['bad syntax', '[daemon]\nstop_loops = yes\n', ':2: '],
    ['a relative path', '[git]\nkey = "id"\n', ':2: git.key: must be an absolute path'],
    ['a window of nothing', '[idle]\nafter = "0m"\n', ':2: idle.after: must be a length of time'],
    ['a window without a unit', '[idle]\nafter = "10"\n', ':2: idle.after: must be a length of time'],
    ['a window that is a number', '[idle]\nafter = 10\n', ':2: idle.after: '],
    ['a window beyond a year', '[idle]\nafter = "366d"\n', ':2: idle.after: '],
    ['an unqualified image', '[image]\nbase = "debian"\n', ':2: image.base: must be a fully qualified'],
  ])('should refuse %s with file, line and key', (_what, text, message) => {
    expect(refused(text)).toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining(`/h/config.toml${message}`),
    })
  })

  it.each([
    ['90s', 90_000],
    ['1h30m', 5_400_000],
    ['never', 'never'],
  ])('should read a window: %s', (text, window) => {
    expect(parseConfig(`[idle]\nafter = "${text}"\n`, 'x').idle.after).toBe(window)
  })

  it('should leave a file that it refuses alone', async () => {
    const path = join(directory, 'bad.toml')
    await writeFile(path, 'nonsense')
    await expect(readConfig(path)).rejects.toMatchObject({ code: 'config_invalid' })
    expect(await readFile(path, 'utf8')).toBe('nonsense')
  })
})

describe('LOOPAT_CONTAINER_IDLE_MS', () => {
  it('should be milliseconds', () => {
    expect([undefined, '', '1500'].map(parseIdleMs)).toEqual([undefined, undefined, 1500])
  })

  it.each(['0', '-5', '10x', '1.5', 'never', '99', '1e5', '99999999999999'])('should be refused: %s', (text) => {
    expect(() => parseIdleMs(text)).toThrow(`LOOPAT_CONTAINER_IDLE_MS must be 100 to 31536000000 milliseconds`)
  })
})
