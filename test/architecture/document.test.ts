import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ERRORS, EXIT, METHODS, NOTIFICATIONS, VERSION } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { ROUTES } from '../../daemon/server/route.ts'
import { ROOT, read } from './source.ts'

const readme = read('README.md')
/** Commands of loopctl that people see. */
const commands = [...read('client/cli/program.ts').matchAll(/name: '([a-z]+)'/g)].map(([, name = '']) => name)

describe('README', () => {
  it('should list every error with its number and its exit code', () => {
    for (const [name, { number, exit }] of Object.entries(ERRORS)) {
      expect(readme).toMatch(new RegExp(`^\\| ${number} \\| \`${name}\` \\| ${EXIT[exit].code} \\|`, 'm'))
    }
  })

  it('should list every exit code', () => {
    for (const { code } of Object.values(EXIT)) expect(readme).toMatch(new RegExp(`^\\| ${code} \\|`, 'm'))
  })

  it('should list every command', () => {
    expect(commands.length).toBeGreaterThan(10)
    for (const name of commands) expect(readme).toMatch(new RegExp(`loopctl ${name}\\b`))
  })

  it('should point only at files that exist', () => {
    const links = [...readme.matchAll(/\]\((?!https?:|#)([^)#]+)\)/g)].map(([, path = '']) => path)
    expect(links.filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
  })
})

describe('tables', () => {
  it('should be sorted: commands', () => {
    expect(commands).toEqual([...commands].sort())
  })

  it.each([
    ['methods', METHODS],
    ['notifications', NOTIFICATIONS],
  ])('should be sorted and true to their names: %s', (_what, table) => {
    const names = Object.keys(table)
    expect(names).toEqual([...names].sort())
    expect(Object.values(table).map((entry) => ('method' in entry ? entry.method : entry.notification))).toEqual(names)
  })

  it('should be sorted and complete: routes', () => {
    // The handshake belongs to the session itself.
    expect(Object.keys(ROUTES)).toEqual(Object.keys(METHODS).filter((name) => name !== 'initialize'))
  })

  it('should list the errors of a method sorted and once', () => {
    for (const { errors } of Object.values(METHODS)) expect([...errors]).toEqual([...new Set<string>(errors)].sort())
  })
})

describe('packages', () => {
  it('should all have the version of the product', () => {
    for (const path of ['package.json', 'protocol/package.json', 'client/package.json', 'daemon/package.json']) {
      expect(JSON.parse(read(path)), path).toMatchObject({ version: VERSION, license: 'Apache-2.0' })
    }
  })

  it('should hold nothing at the top but what has its place there', () => {
    const fixed = [
      'LICENSE',
      'README.md',
      'client',
      'daemon',
      'package.json',
      'protocol',
      'systemd',
      'templates',
      'test',
    ]
    const allowed = [...fixed, 'package-lock.json', 'biome.json', 'tsconfig.json', 'tsconfig.base.json', 'node_modules']
    const found = readdirSync(ROOT).filter((name) => !name.startsWith('.'))
    expect(found.filter((name) => !allowed.includes(name))).toEqual([])
    expect(fixed.filter((name) => !found.includes(name))).toEqual([])
  })
})
