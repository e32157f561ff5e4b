import { describe, expect, it } from 'vitest'
import { createRecipe, isOutdated, isSibling } from '../../../daemon/image/image-recipe.ts'

const file = (path: string, text: string, executable = false) => ({ path, executable, content: Buffer.from(text) })
const input = {
  workspace: 'ws',
  files: [file('Containerfile', 'ARG BASE\nFROM $BASE\n'), file('files/etc/a', 'a')],
  authorities: ['-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----'],
  base: 'image example/debian:bookworm',
}

describe('createRecipe', () => {
  it('should name the image by workspace and content', () => {
    const { tag, hash } = createRecipe(input)
    expect(hash).toMatch(/^[0-9a-f]{16}$/)
    expect(tag).toBe(`localhost/loopat-sandbox-ws:${hash}`)
  })

  it('should give the same content the same hash in every workspace and in every order', () => {
    const { hash } = createRecipe(input)
    expect(createRecipe({ ...input, workspace: 'other' }).hash).toBe(hash)
    expect(createRecipe({ ...input, files: [...input.files].reverse() }).hash).toBe(hash)
  })

  it.each([
    ['a file', { files: [file('Containerfile', 'ARG BASE\nFROM $BASE\nRUN true\n'), file('files/etc/a', 'a')] }],
    ['the name of a file', { files: [input.files[0] ?? file('', ''), file('files/etc/b', 'a')] }],
    ['whether a file is a program', { files: [input.files[0] ?? file('', ''), file('files/etc/a', 'a', true)] }],
    ['an authority', { authorities: [] }],
    ['the base', { base: 'image example/debian:trixie' }],
  ])('should give another hash when %s changes', (_what, change) => {
    expect(createRecipe({ ...input, ...change }).hash).not.toBe(createRecipe(input).hash)
  })

  it('should not confuse where one file ends and the next begins', () => {
    const one = createRecipe({ ...input, files: [file('Containerfile', 'a'), file('b', 'c')] })
    const two = createRecipe({ ...input, files: [file('Containerfile', 'ab'), file('c', '')] })
    expect(one.hash).not.toBe(two.hash)
  })

  it('should put authorities into the context under names of their content', () => {
    const paths = createRecipe(input).files.map((each) => each.path)
    expect(paths).toHaveLength(3)
    expect(paths.filter((path) => /^ca\/host-[0-9a-f]{16}\.crt$/.test(path))).toHaveLength(1)
  })

  it.each([
    ['a-b_c.d', 'a-b_c.d'],
    ['a--b__c', 'a--b__c'],
    ['a..b', 'a-b'],
    ['a._b', 'a-b'],
    ['a___b-_.c', 'a-b-c'],
  ])('should make a valid repository name of workspace %s', (workspace, part) => {
    const { tag, hash } = createRecipe({ ...input, workspace })
    expect(tag).toBe(`localhost/loopat-sandbox-${part}:${hash}`)
  })
})

describe('names of images', () => {
  const tag = 'localhost/loopat-sandbox-ws:0123456789abcdef'

  it('should know the same image of another workspace', () => {
    expect(isSibling('localhost/loopat-sandbox-other:0123456789abcdef', tag)).toBe(true)
    expect(isSibling(tag, tag)).toBe(false)
    expect(isSibling('localhost/loopat-sandbox-other:fedcba9876543210', tag)).toBe(false)
    expect(isSibling('localhost/loopat-base-other:0123456789abcdef', tag)).toBe(false)
    expect(isSibling('localhost/mine:0123456789abcdef', tag)).toBe(false)
  })

  it('should call outdated only what is in exactly the same repository', () => {
    expect(isOutdated('localhost/loopat-sandbox-ws:fedcba9876543210', tag)).toBe(true)
    expect(isOutdated(tag, tag)).toBe(false)
    expect(isOutdated('localhost/loopat-sandbox-ws-2:fedcba9876543210', tag)).toBe(false)
    expect(isOutdated('localhost/loopat-base-ws:fedcba9876543210', tag)).toBe(false)
  })
})
