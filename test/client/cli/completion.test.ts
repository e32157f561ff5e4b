import { spawnSync } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { completionScript, SHELLS } from '../../../client/cli/completion.ts'
import { temporaryDirectory } from '../../harness/repo.ts'
import { approvalInfo, grantInfo } from './grant.ts'
import { TestHost } from './host.ts'
import { loopInfo } from './loop.ts'
import { type StubDaemon, startStub } from './stub-daemon.ts'

describe('completion', () => {
  let stub: StubDaemon

  beforeEach(async () => {
    stub = await startStub()
    stub.on('loop/list', ({ archived }) => ({
      loops: [
        ...(archived === 'only' ? [] : [loopInfo({ name: 'one', title: 'First\x1b' }), loopInfo({ name: 'two' })]),
        ...(archived === 'exclude' ? [] : [loopInfo({ name: 'old', state: 'archived' })]),
      ],
    }))
    stub.on('host/list', ({ loop }) => ({
      grants: [grantInfo(), grantInfo({ id: '11111111', origin: 'workspace' })].filter(() => loop === 'one'),
    }))
    stub.on('host/pending', () => ({ approvals: [approvalInfo({ command: 'gh\x1b' })] }))
    stub.on('job/list', ({ loop }) => ({
      jobs: loop === 'one' ? [{ id: '0123abcd', command: ['make'], state: 'exited', exitCode: 2, reason: null }] : [],
    }))
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  /** What the words may become, without the meanings. */
  async function complete(...words: string[]): Promise<string[]> {
    const { code, stdout, stderr } = await new TestHost({ socket: stub.socket }).run('__complete', '--', ...words)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')[0] ?? '']))
  }

  it.each([
    [['st'], ['start', 'stop']],
    [['__'], []],
    [['--v'], ['--version']],
    [
      ['daemon', ''],
      ['status', 'start', 'stop', 'restart', 'install', 'uninstall', 'logs', 'help'],
    ],
    [['daemon', 'l'], ['logs']],
    [
      ['idle', ''],
      ['why', 'set', 'hold', 'release', 'help'],
    ],
    [
      ['idle', 'why', ''],
      ['one', 'two'],
    ],
    [['daemon', 'logs', '--f'], ['--follow']],
    [
      ['ls', '--a'],
      ['--all', '--archived'],
    ],
    [['ls', ''], []],
    [
      ['completion', ''],
      ['bash', 'fish', 'zsh'],
    ],
    [['events', '--kind', 'loop'], ['loop/changed']],
    [
      ['events', '--loop', ''],
      ['one', 'two'],
    ],
    [['create', '--repo', 'x'], [':files']],
    [['create', '--name', ''], []],
    [['rpc', 'loop/l'], ['loop/list']],
    [
      ['show', ''],
      ['one', 'two', 'old'],
    ],
    [['unarchive', ''], ['old']],
    [['stop', 'one', ''], ['two']],
    [['stop', '--grace', '3', 'o'], ['one']],
    [
      ['exec', '-u', 'root', ''],
      ['one', 'two'],
    ],
    [['exec', 'one', '--'], []],
    [
      ['job', 'l'],
      ['ls', 'logs'],
    ],
    [
      ['job', 'start', ''],
      ['one', 'two'],
    ],
    [['job', 'start', 'one', '--'], []],
    [['job', 'logs', 'one', ''], ['0123abcd']],
    [
      ['job', 'kill', '-s', 'U'],
      ['USR1', 'USR2'],
    ],
    [['host', 'r'], ['revoke']],
    [
      ['host', 'grant', ''],
      ['one', 'two'],
    ],
    [['host', 'grant', 'one', ''], []],
    [['host', 'grant', '--full'], ['--full-access']],
    [['host', 'ls', 't'], ['two']],
    [['host', 'log', '-n', ''], []],
    [['host', 'revoke', 'one', ''], ['0123abcd']],
    [['host', 'revoke', 'two', ''], []],
    [['host', 'approve', ''], ['4567cdef']],
    [['host', 'deny', '--always', '4'], ['4567cdef']],
    [['events', '--kind', 'host/approvalR'], ['host/approvalRequested']],
    [['exec', 'one', ''], []],
    [['show', 'one', ''], []],
    [['nonsense', ''], []],
    [['stop', '--', '--'], []],
    [
      ['help', 'sh'],
      ['shell', 'show'],
    ],
  ])('should complete %j to %j', async (words, expected) => {
    const found = await complete(...words)
    expect(found.sort()).toEqual([...expected].sort())
  })

  it('should complete a missing word to every command', async () => {
    expect(await complete('')).toContain('unarchive')
    expect(await complete()).toContain('unarchive')
  })

  it('should say what a loop is, without what a terminal would obey', async () => {
    const { stdout } = await new TestHost({ socket: stub.socket }).run('__complete', '--', 'show', 'one')
    expect(stdout).toBe('one\trunning: First\\x1b\n')
  })

  it('should offer nothing, say nothing and start nothing when no daemon runs', async () => {
    expect(await new TestHost().run('__complete', '--', 'show', '')).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  it('should not wait long for a daemon that does not answer', async () => {
    stub.on('loop/list', () => new Promise(() => undefined))
    expect(await complete('show', '')).toEqual([])
  })

  it.each(SHELLS)('should print the script for %s', async (shell) => {
    const { code, stdout } = await new TestHost().run('completion', shell)
    expect({ code, stdout }).toEqual({ code: 0, stdout: completionScript(shell) })
  })
})

describe('the completion script', () => {
  let directory: string

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'completion-'))
    const loopctl = join(directory, 'loopctl')
    await writeFile(loopctl, '#!/bin/sh\n[ "$1 $2" = "__complete --" ] && printf "%s\\tmeaning: x\\n" "<$3>" "<$4>"\n')
    await chmod(loopctl, 0o755)
  })
  afterEach(() => rm(directory, { recursive: true }))

  function shell(program: string, script: string) {
    const env = { PATH: `${directory}:${process.env.PATH ?? ''}`, HOME: directory }
    const { status, stdout, stderr } = spawnSync(program, [], { input: script, env, encoding: 'utf8' })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    return stdout
  }

  it('should offer in bash what loopctl answers to the words up to the cursor', () => {
    const script = `${completionScript('bash')}
COMP_WORDS=(loopctl show 'a b' later) COMP_CWORD=2
_loopctl
printf '%s\\n' "\${COMPREPLY[@]}"
complete -p loopctl`
    expect(shell('bash', script)).toBe('<show>\n<a b>\ncomplete -F _loopctl loopctl\n')
  })

  it.for([
    ['fish', ['--no-execute']],
    ['zsh', ['-n']],
  ] as const)('should be understood by %s', async ([program, flags], { skip }) => {
    await using directory = await temporaryDirectory()
    const path = join(directory.path, program)
    await writeFile(path, completionScript(program))
    const checked = spawnSync(program, [...flags, path], { encoding: 'utf8' })
    if (checked.error !== undefined && 'code' in checked.error && checked.error.code === 'ENOENT') {
      skip(`${program} is not installed: npm test installs it`)
    }
    expect({ status: checked.status, stderr: checked.stderr }).toEqual({ status: 0, stderr: '' })
  })
})
