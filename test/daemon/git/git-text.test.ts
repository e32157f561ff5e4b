import { describe, expect, it } from 'vitest'
import { meaningfulLine, parseProgress, printable, redactUserInfo } from '../../../daemon/git/git-text.ts'

describe('text of git', () => {
  it.each([
    ['fatal: repository not there\n', 'repository not there'],
    [
      'git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n',
      'git@h: Permission denied (publickey).',
    ],
    [
      "remote: Repository not found.\nfatal: repository 'https://h/x/' not found\n",
      "repository 'https://h/x/' not found",
    ],
    ['Receiving objects:  10% (1/10)\rReceiving objects: 100% (10/10), done.\nerror: disk\n', 'disk'],
    [
      "error: unable to read askpass response from '/bin/false'\nfatal: could not read Username for 'https://h'\n",
      "could not read Username for 'https://h'",
    ],
    ["fatal: unable to access 'https://u:p@h/x/': no\n", "unable to access 'https://***@h/x/': no"],
    ['remote: \u001b[31mevil\u0007\n', '?[31mevil?'],
    ['', ''],
    ['fatal: early EOF\n', 'early EOF'],
  ])('should find the line that says most in %j', (stderr, line) => {
    expect(meaningfulLine(stderr)).toBe(line)
  })

  it('should keep foreign text short and on one line', () => {
    expect(printable('a\n\tb\u202Ec')).toBe('a b?c')
    expect([...printable('😀'.repeat(1000), 10)]).toHaveLength(10)
  })

  it('should hide credentials and keep the user of ssh', () => {
    expect(redactUserInfo('https://token@h/x ssh://git@h/y http://u:p@h')).toBe(
      'https://***@h/x ssh://git@h/y http://***@h',
    )
  })

  it('should read progress and nothing else', () => {
    expect(parseProgress('remote: Counting objects:  42% (21/50)')).toEqual({ stage: 'Counting objects', percent: 42 })
    expect(parseProgress('Receiving objects:   7% (1/14), 2.00 MiB | 1 MiB/s')).toMatchObject({ percent: 7 })
    expect(parseProgress('Counting objects: 14, done.')).toBeUndefined()
    expect(parseProgress('fatal: x: 7% (1/2)')).toBeUndefined()
  })
})
