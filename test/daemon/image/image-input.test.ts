import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isLoopatError } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readAuthorities, readTemplate } from '../../../daemon/image/image-input.ts'

const certificate = (body: string) => `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----`

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'loopat-input-'))
})
afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

const noneUnreadable = (path: string) => {
  throw new Error(`${path} cannot be read`)
}

describe('readTemplate', () => {
  it('should read all files, sorted, and which of them are programs', async () => {
    await mkdir(join(directory, 'files/etc'), { recursive: true })
    await writeFile(join(directory, 'Containerfile'), 'FROM scratch\n')
    await writeFile(join(directory, 'files/run'), '#!/bin/sh\n')
    await chmod(join(directory, 'files/run'), 0o775)
    await writeFile(join(directory, 'files/etc/a'), 'a', { mode: 0o664 })
    const files = await readTemplate(directory)
    expect(files.map(({ path, executable }) => [path, executable])).toEqual([
      ['Containerfile', false],
      ['files/etc/a', false],
      ['files/run', true],
    ])
    expect(String(files[0]?.content)).toBe('FROM scratch\n')
  })

  it('should refuse a directory without a Containerfile', async () => {
    const error = await readTemplate(join(directory, 'missing')).catch((caught: unknown) => caught)
    expect(isLoopatError(error, 'image_build_failed')).toBe(true)
    expect(String(error)).toContain(join(directory, 'missing', 'Containerfile'))
  })
})

describe('readAuthorities', () => {
  it('should give nothing when the host has none', async () => {
    expect(await readAuthorities([join(directory, 'missing'), directory], noneUnreadable)).toEqual([])
  })

  it('should take each certificate on its own, once, and nothing else', async () => {
    await mkdir(join(directory, 'company'))
    const key = '-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----'
    await writeFile(join(directory, 'two.crt'), `comment\n${certificate('BBB')}\n${key}\n${certificate('AAA')}\n`)
    await writeFile(join(directory, 'company/again.crt'), certificate('AAA').replaceAll('\n', '\r\n'))
    await writeFile(join(directory, 'other.pem'), certificate('CCC'))
    await writeFile(join(directory, 'README'), certificate('DDD'))
    await symlink(join(directory, 'other.pem'), join(directory, 'link.crt'))
    await symlink(join(directory, 'gone'), join(directory, 'dangling.crt'))
    const found = await readAuthorities([directory], noneUnreadable)
    expect(found).toEqual([certificate('AAA'), certificate('BBB'), certificate('CCC')])
  })

  it('should leave out a file that may not be read, and say so', async ({ skip }) => {
    if (process.getuid?.() === 0) skip('root may read every file: run `npm test`, which uses a user of its own')
    await writeFile(join(directory, 'a.crt'), certificate('AAA'))
    await writeFile(join(directory, 'b.crt'), certificate('BBB'), { mode: 0o000 })
    const unreadable: string[] = []
    expect(await readAuthorities([directory], (path) => unreadable.push(path))).toEqual([certificate('AAA')])
    expect(unreadable).toEqual([join(directory, 'b.crt')])
  })
})
