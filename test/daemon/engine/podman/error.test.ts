import { describe, expect, it } from 'vitest'
import { ApiFailure } from '../../../../daemon/engine/podman/docker.ts'
import { fromStreamError, mayBeCutOff, readComplaint, toEngineError } from '../../../../daemon/engine/podman/error.ts'

describe('toEngineError', () => {
  it.each([
    [
      'name_taken',
      'the container name "a" is already in use by b73. You have to remove that container: that name is already in use',
    ],
    ['name_taken', 'network name nn already used: network already exists'],
    ['runtime_stale', 'crun: container `6f2122e8` already exists: OCI runtime error'],
    ['runtime_stale', `\`/usr/bin/crun start ${'0d'.repeat(32)}\` failed: exit status 1`],
    ['network_stale', 'container create: unable to find network with name or ID nonet: network not found'],
    ['not_found', 'no such image: localhost/nope:1: image not known'],
    ['not_found', 'no container with name or ID "zzz" found: no such container'],
    ['wrong_state', 'can only create exec sessions on running containers: container state improper'],
    [
      'mount_missing',
      "crun: error stat'ing file `/home/x/src`: No such file or directory: OCI runtime attempted to invoke a command that was not found",
    ],
    ['port_taken', 'rootlessport listen tcp 0.0.0.0:34567: bind: address already in use'],
    [
      'in_use',
      '"nn" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used',
    ],
    ['wrong_state', 'given PIDs did not die within timeout'],
    ['storage_full', 'writing blob: write /var/x: no space left on device'],
    ['failed', 'something that nobody has seen before'],
  ])('should call it %s: %s', (kind, message) => {
    const failure = new ApiFailure(500, { cause: '', message, response: 500 })
    const error = toEngineError(failure, 'do it')
    expect(error.kind).toBe(kind)
    expect(error.message).toContain('do it')
    expect(error.message).toContain(message)
    expect(error.cause).toBe(failure)
  })

  it('should understand an answer without words', () => {
    const missing = new ApiFailure(404, 'Not Found\n')
    expect(toEngineError(missing, 'do it')).toMatchObject({ kind: 'not_found' })
    const empty = new ApiFailure(500, '')
    expect(toEngineError(empty, 'do it')).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('HTTP 500'),
    })
  })

  it('should tell no connection from a broken one', () => {
    for (const code of ['ENOENT', 'ECONNREFUSED']) {
      expect(toEngineError(Object.assign(new Error(code), { code }), 'do it').kind).toBe('unavailable')
    }
    for (const code of ['ECONNRESET', 'EPIPE', undefined]) {
      expect(toEngineError(Object.assign(new Error('x'), { code }), 'do it').kind).toBe('connection_lost')
    }
  })
})

describe('fromStreamError', () => {
  it('should prefer a full disk and a missing image to what was under way', () => {
    expect(fromStreamError('exit status 1', 'build x', 'build_failed').kind).toBe('build_failed')
    expect(fromStreamError('no space left on device', 'build x', 'build_failed').kind).toBe('storage_full')
    expect(fromStreamError('initializing source docker://x', 'build x', 'build_failed').kind).toBe('image_unavailable')
  })
})

describe('readComplaint', () => {
  const command = { program: 'nope', cwd: undefined }
  const trailer = 'Error: read unixpacket @->/proc/self/fd/15/attach: read: connection reset by peer\n'

  it.each([
    [
      'command_not_found',
      127,
      'Error: crun: executable file `nope` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found\n',
    ],
    [
      'command_not_found',
      127,
      'Error: OCI runtime error: runc: exec failed: unable to start container process: exec: "nope": executable file not found in $PATH\n',
    ],
    ['not_executable', 126, 'Error: crun: open executable: Permission denied: OCI permission denied\n'],
    [
      'directory_unusable',
      127,
      'Error: crun: chdir `/nowhere`: No such file or directory: OCI runtime attempted to invoke a command that was not found\n',
    ],
    [
      'directory_unusable',
      127,
      'Error: crun: chdir to `/nowhere`: No such file or directory: OCI runtime attempted to invoke a command that was not found\n',
    ],
    ['directory_unusable', 125, 'Error: crun: chdir to `/bin/sh`: Not a directory: OCI runtime error\n'],
    [
      'directory_unusable',
      126,
      'Error: runc: exec failed: unable to start container process: chdir to cwd ("/nowhere") set in config.json failed: no such file or directory\n',
    ],
  ])('should call it %s (%i): %s', (kind, exitCode, output) => {
    expect(readComplaint(output, exitCode, command)?.kind).toBe(kind)
    expect(readComplaint(output + trailer, exitCode, command)?.kind).toBe(kind)
  })

  it('should leave alone what a command says about something else', () => {
    const other = 'Error: crun: executable file `other` not found in $PATH: No such file or directory\n'
    expect(readComplaint(other, 127, command)).toBeUndefined()
    expect(readComplaint('sh: nope: not found\n', 127, command)).toBeUndefined()
    const ours = 'Error: crun: executable file `nope` not found in $PATH\n'
    expect(readComplaint(ours, 1, command)).toBeUndefined()
    expect(readComplaint(ours, 125, command)).toBeUndefined()
  })

  it('should know the words that may mean a lost end of output', () => {
    expect(mayBeCutOff(trailer)).toBe(true)
    expect(mayBeCutOff('Error: something else\n')).toBe(false)
  })
})
