import { describe, expect, it } from 'vitest'
import { gitEnv, sshCommand } from '../../../daemon/git/git-env.ts'

const host = {
  PATH: '/bin',
  HOME: '/home/ada',
  SSH_AUTH_SOCK: '/run/agent',
  GIT_SSH_COMMAND: 'evil',
  GIT_CONFIG_COUNT: '1',
  SECRET_TOKEN: 's3cret',
  HTTPS_PROXY: 'http://proxy:3128',
  CURL_CA_BUNDLE: '/etc/ca.pem',
  EDITOR: 'vi',
}

describe('the environment of git', () => {
  it('should hold nothing of the host but the search path, when nothing is reached', () => {
    const env = gitEnv(host, { kind: 'none' })
    expect(env).toMatchObject({ PATH: '/bin', GIT_ALLOW_PROTOCOL: 'none', GIT_CONFIG_GLOBAL: '/dev/null' })
    expect(Object.values(env).join('\n')).not.toMatch(/evil|s3cret|agent|ada|proxy|vi\b/)
    expect(env).not.toHaveProperty('GIT_CONFIG_COUNT')
  })

  it('should add proxies and certificates for https alone', () => {
    const env = gitEnv(host, { kind: 'https' })
    expect(env).toMatchObject({
      GIT_ALLOW_PROTOCOL: 'https',
      HTTPS_PROXY: 'http://proxy:3128',
      GIT_SSL_CAINFO: '/etc/ca.pem',
    })
    expect(env).not.toHaveProperty('GIT_SSH_COMMAND')
    expect(gitEnv(host, { kind: 'file' })).not.toHaveProperty('HTTPS_PROXY')
  })

  it('should give ssh one key and one list of hosts, whatever their paths look like', () => {
    const command = sshCommand({ key: "/k e'y%h", knownHosts: '/home x/known_hosts' })
    expect(command).toContain(String.raw`'IdentityFile="/k e'\''y%%h"'`)
    expect(command).toContain(`'UserKnownHostsFile="/home x/known_hosts"'`)
    expect(command).toMatch(/^ssh -F \/dev\/null /)
    for (const option of [
      'BatchMode=yes',
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
      'StrictHostKeyChecking=accept-new',
    ]) {
      expect(command).toContain(option)
    }
    expect(gitEnv(host, { kind: 'ssh', command })).toMatchObject({
      GIT_SSH_COMMAND: command,
      GIT_ALLOW_PROTOCOL: 'ssh',
    })
  })

  it.each(['/a"b', '/a\\b', '/a$' + '{HOME}', '/a\nb'])(
    'should refuse the key %j, which ssh would read otherwise',
    (key) => {
      expect(() => sshCommand({ key, knownHosts: '/x' })).toThrow(expect.objectContaining({ code: 'repo_invalid' }))
    },
  )
})
