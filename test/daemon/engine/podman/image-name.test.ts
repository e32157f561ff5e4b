import { describe, expect, it } from 'vitest'
import { imagePath, splitName } from '../../../../daemon/engine/podman/image-name.ts'

describe('image names', () => {
  it('should split at the tag, not at the port', () => {
    expect(splitName('localhost:5000/a/b:c')).toEqual({ repo: 'localhost:5000/a/b', tag: 'c' })
    expect(() => splitName('localhost:5000/a/b')).toThrow(/no tag/)
  })

  it.each(['', '../secret', 'a/../b', 'a?force=true', 'a//b', '-a', 'a b', '/a'])('should refuse %j', (name) => {
    expect(() => imagePath(name)).toThrow(expect.objectContaining({ kind: 'failed' }))
  })

  it('should encode what a path must not hold', () => {
    expect(imagePath('localhost/a@sha256:1')).toBe('/localhost/a%40sha256%3A1')
  })
})
