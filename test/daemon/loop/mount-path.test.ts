import { describe, expect, it } from 'vitest'
import { parseSource, parseTarget } from '../../../daemon/loop/mount-path.ts'

const source = (text: string) => parseSource(text, '/home/ada')

describe('the source of a mount', () => {
  it.each([
    ['/data', '/data'],
    ['/data/', '/data'],
    ['//data///x/.', '/data/x'],
    ['/', '/'],
    ['~', '/home/ada'],
    ['~/x', '/home/ada/x'],
    ['$HOME', '/home/ada'],
    ['$HOME/x y/ü', '/home/ada/x y/ü'],
    ['/a..b/...', '/a..b/...'],
  ])('should be read from %j', (text, path) => {
    expect(source(text)).toEqual({ path })
  })

  it.each(['', 'data', './data', '~ada/x', '$HOMES/x', 'C:\\x', '/a/../b', '..', '~/..', '/a:b', '/a,b', '/a\tb'])(
    'should be refused as %j',
    (text) => {
      expect(source(text)).toEqual({ why: expect.any(String) })
    },
  )
})

describe('the target of a mount', () => {
  it.each([
    ['~', '/home/loopat'],
    ['$HOME/.config', '/home/loopat/.config'],
    ['/data', '/data'],
    ['/loop', '/loop'],
    ['/loopats', '/loopats'],
    ['/development', '/development'],
    ['/home/other', '/home/other'],
  ])('should be read from %j', (text, path) => {
    expect(parseTarget(text)).toEqual({ path })
  })

  it.each([
    '/',
    '//',
    '/.',
    '/home',
    '/home/',
    '/dev',
    '/dev/shm',
    '/proc/1',
    '/sys',
    '/sys/fs/cgroup',
    '/loopat',
    '/loopat/',
    '/loopat/control',
    '/loopat//run/x',
    '/x/../loopat',
    'relative',
    '/a:b',
    '/a\nb',
  ])('should be refused as %j', (text) => {
    expect(parseTarget(text)).toEqual({ why: expect.any(String) })
  })
})
