import { describe, expect, it } from 'vitest'
import { UsageError } from '../../../client/cli/exit.ts'
import { Output } from '../../../client/cli/output.ts'
import { LoopatError } from '../../../protocol/error.ts'
import { Capture } from './host.ts'

function make({ tty = false, env = {} }: { tty?: boolean; env?: Record<string, string> } = {}) {
  const stdout = new Capture(tty)
  const stderr = new Capture(tty)
  return { stdout, stderr, output: new Output(stdout, stderr, env) }
}

describe('output', () => {
  it('should write results to stdout and everything else to stderr', () => {
    const { stdout, stderr, output } = make()
    output.line('result')
    output.note('note')
    output.error(new Error('failure'))
    expect(stdout.text).toBe('result\n')
    expect(stderr.text).toMatch(/^note\nloopctl: failure\n/)
  })

  it('should print an error with the next step below it', () => {
    const { stderr, output } = make()
    output.error(new LoopatError('loop_not_found', 'there is no loop "x"', { next: 'Run: loopctl ls' }))
    expect(stderr.text).toBe('loopctl: there is no loop "x"\n  → Run: loopctl ls\n')
  })

  it('should print a usage error without a next step when it has none', () => {
    const { stderr, output } = make()
    output.error(new UsageError('no'))
    expect(stderr.text).toBe('loopctl: no\n')
  })

  it('should indent the further lines of a message and make it harmless', () => {
    const { stderr, output } = make()
    output.error(new LoopatError('git_failed', 'git failed:\n\x1b[31mfatal\n', { next: 'one\ntwo' }))
    expect(stderr.text).toBe('loopctl: git failed:\n  \\x1b[31mfatal\n  → one\n    two\n')
  })

  it('should list what would be lost with a loop', () => {
    const { stderr, output } = make()
    const files = Array.from({ length: 52 }, (_, n) => `file-${n}\x1b`)
    const details = { loop: 'x', commits: ['abc first'], files }
    output.error(new LoopatError('unpromoted_work', 'it holds work', { details, next: 'Push it.' }))
    const lines = stderr.text.split('\n')
    expect(lines.slice(0, 3)).toEqual(['loopctl: it holds work', '    abc first', '    file-0\\x1b'])
    expect(lines.slice(-4)).toEqual(['    file-49\\x1b', '    and 2 more files', '  → Push it.', ''])
  })

  it('should show where an error comes from only when asked to', () => {
    const quiet = make()
    const chatty = make({ env: { LOOPAT_LOG_LEVEL: 'debug' } })
    const error = new LoopatError('internal', 'outer', { cause: new Error('inner') })
    quiet.output.error(error)
    chatty.output.error(error)
    expect(quiet.stderr.text).toBe('loopctl: outer\n')
    expect(chatty.stderr.text).toContain('output.test.ts')
    expect(chatty.stderr.text).toContain('Error: inner')
  })

  it.each([
    [{ tty: true, env: {} }, true],
    [{ tty: true, env: { NO_COLOR: '1' } }, false],
    [{ tty: true, env: { NO_COLOR: '' } }, true],
    [{ tty: true, env: { TERM: 'dumb' } }, false],
    [{ tty: false, env: {} }, false],
  ])('should give colour in %j: %s', (options, coloured) => {
    const { stderr, output } = make(options)
    output.error(new UsageError('x'))
    expect(output.coloured).toBe(coloured)
    expect(stderr.text.includes('\x1b[')).toBe(coloured)
  })

  it('should write JSON that parses, with no control character in it', () => {
    const { stdout, output } = make()
    const value = { title: 'a\u009b31m\x7f\x1b', list: [1] }
    output.json(value)
    expect(JSON.parse(stdout.text)).toEqual(value)
    expect(stdout.text).not.toMatch(/(?!\n)\p{Cc}/u)
    expect(stdout.text).toContain('\n  "list"')
  })

  it('should write JSON lines on one line each', () => {
    const { stdout, output } = make()
    output.jsonLine({ a: 'x\ny' })
    expect(stdout.text).toBe('{"a":"x\\ny"}\n')
  })
})
