import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { declaredNames, readDeclaredNames } from '../../../daemon/host/declared-names.ts'
import { Random } from '../../harness/random.ts'

const GOOD = '[tools]\nnode = "22"\n\n[host]\nclis = ["gh", "adb"]\n'

describe('names that a text declares', () => {
  it('should be those of its table', () => {
    expect(declaredNames(GOOD)).toEqual(['gh', 'adb'])
    expect(declaredNames('host = { clis = ["gh"] }')).toEqual(['gh'])
    expect(declaredNames('host.clis = ["g++", "gh", "g++"]')).toEqual(['g++', 'gh'])
  })

  it.each([
    '',
    'clis = ["gh"]',
    '[host]',
    'host = 1',
    'host = [{ clis = ["gh"] }]',
    '[[host]]\nclis = ["gh"]',
    '[host]\nclis = "gh"',
    '[host.clis]\ngh = true',
    '[host]\nclis = ["gh"',
    '[host]\nclis = ["gh"]\n[host]\nclis = ["gh"]',
    '[host.__proto__]\nclis = ["gh"]',
    '[__proto__.host]\nclis = ["gh"]',
    `x = ${'['.repeat(60_000)}`,
    `x = ${'{a='.repeat(20_000)}`,
    `${'a.'.repeat(30_000)}a = 1`,
    '\ufffd\0',
  ])('should be none, %#', (text) => {
    expect(declaredNames(text)).toEqual([])
  })

  it('should be left out one by one', () => {
    const clis = '["gh", 1, "", "../x", "a/b", "-x", "a b", ["gh"], {}, 1979-05-27, "a\\u0000", "\\u001b[2J", "adb"]'
    expect(declaredNames(`[host]\nclis = ${clis}`)).toEqual(['gh', 'adb'])
  })

  it('should be 64 at most', () => {
    const many = Array.from({ length: 3000 }, (_, index) => `"n${index}"`)
    expect(declaredNames(`[host]\nclis = [${many.join()}]`)).toHaveLength(64)
  })

  it('should be no error, whatever the text is', () => {
    const random = Random.fromEnvironment('LOOPAT_DECLARED_SEED')
    const pieces = [...'[]{}=".,\'#\n \\', 'host', 'clis', '"gh"', '[host]\n', '1e9', '"""', "'''", '\0', '\u{1f600}']
    for (let round = 0; round < 3000; round += 1) {
      const text = [...GOOD]
      for (let edits = random.below(8); edits >= 0; edits -= 1) {
        text.splice(random.below(text.length + 1), random.below(4), random.pick(pieces))
      }
      expect(Array.isArray(declaredNames(text.join(''))), `seed ${random.seed}, round ${round}`).toBe(true)
    }
  })
})

describe('names that a workdir declares', () => {
  let workdir: string
  let file: string
  beforeEach(async () => {
    workdir = await mkdtemp(join(tmpdir(), 'loopat-declared-'))
    file = join(workdir, 'mise.toml')
  })
  afterEach(() => rm(workdir, { recursive: true, force: true }))

  it('should be those of its file', async () => {
    expect(await readDeclaredNames(workdir)).toEqual([])
    await writeFile(file, GOOD)
    expect(await readDeclaredNames(workdir)).toEqual(['gh', 'adb'])
  })

  it('should be none without a workdir, or with a link in its place', async () => {
    await writeFile(file, GOOD)
    await symlink(workdir, `${workdir}-link`)
    expect(await readDeclaredNames(`${workdir}-link`)).toEqual([])
    await rm(`${workdir}-link`)
    expect(await readDeclaredNames(join(workdir, 'none'))).toEqual([])
    expect(await readDeclaredNames(file)).toEqual([])
  })

  it('should be none when the file is a link, a directory, a pipe or a socket', async () => {
    await writeFile(join(workdir, 'other'), GOOD)
    await symlink('other', file)
    expect(await readDeclaredNames(workdir)).toEqual([])
    await rm(file)
    await mkdir(file)
    expect(await readDeclaredNames(workdir)).toEqual([])
    await rm(file, { recursive: true })
    await promisify(execFile)('mkfifo', [file])
    expect(await readDeclaredNames(workdir)).toEqual([])
    await rm(file)
    await promisify(execFile)('perl', ['-e', 'socket S, 1, 1, 0; bind S, pack "Sa*x", 1, $ARGV[0] or die', file])
    expect(await readDeclaredNames(workdir)).toEqual([])
  })

  it('should be none when the file is large', async () => {
    const rest = 65_536 - GOOD.length
    await writeFile(file, `${GOOD}#${'x'.repeat(rest - 1)}`)
    expect(await readDeclaredNames(workdir)).toEqual(['gh', 'adb'])
    await writeFile(file, `${GOOD}#${'x'.repeat(rest)}`)
    expect(await readDeclaredNames(workdir)).toEqual([])
  })
})
