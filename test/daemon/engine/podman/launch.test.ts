import { describe, expect, it } from 'vitest'
import { serviceCommand, serviceEnv, unitCommand } from '../../../../daemon/engine/podman/launch.ts'

describe('serviceCommand', () => {
  it('should serve for ever', () => {
    expect(serviceCommand('/usr/bin/podman', '/run/x/podman.sock', true)).toEqual({
      program: '/usr/bin/podman',
      args: ['system', 'service', '--time', '0', 'unix:///run/x/podman.sock'],
    })
  })

  it('should put a unified hierarchy into the namespaces that all of podman shares where the host has a hybrid one', () => {
    const { program, args } = serviceCommand('/usr/bin/podman', '/run/x/podman.sock', false)
    expect(program).toBe('/usr/bin/podman')
    expect(args.slice(0, 3)).toEqual(['unshare', 'sh', '-c'])
    expect(args[3]).not.toContain('${')
    expect(args.slice(-2)).toEqual(['0', 'unix:///run/x/podman.sock'])
  })
})

describe('serviceEnv', () => {
  it('should pass on what podman needs and nothing else', () => {
    const env = { PATH: '/bin', HOME: '/home/x', LISTEN_FDS: '1', SECRET_TOKEN: 'x', CONTAINERS_CONF: '/etc/other' }
    expect(serviceEnv(env, '/run/x/containers.conf')).toEqual({
      PATH: '/bin',
      HOME: '/home/x',
      CONTAINERS_CONF: '/run/x/containers.conf',
    })
  })
})

describe('unitCommand', () => {
  it('should make a unit whose end leaves containers alone', () => {
    const command = { program: '/usr/bin/podman', args: ['system', 'service'] }
    const unit = unitCommand(command, { unit: 'x.service', logPath: '/log', variables: ['https_proxy'] })
    expect(unit.program).toBe('systemd-run')
    expect(unit.args).toEqual(
      expect.arrayContaining(['--user', '--unit=x.service', '--property=KillMode=process', '--property=Delegate=yes']),
    )
    // Without the value, which everybody could read there.
    expect(unit.args.slice(-5)).toEqual(['--setenv=https_proxy', '--', '/usr/bin/podman', 'system', 'service'])
  })
})
