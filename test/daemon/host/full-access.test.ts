import { describe, expect, it } from 'vitest'
import { isFullAccess } from '../../../daemon/host/full-access.ts'

describe('full access to the host', () => {
  it.each([
    ...[
      '/bin/sh',
      '/usr/bin/bash',
      '/usr/bin/env',
      '/usr/bin/sudo',
      '/usr/bin/find',
      '/usr/bin/xargs',
      '/usr/bin/xdg-open',
    ],
    ...['/usr/bin/git', '/usr/bin/ssh', '/usr/bin/npm', '/usr/bin/podman', '/usr/bin/docker', '/usr/bin/make'],
    ...[
      '/usr/bin/vim.basic',
      '/usr/bin/vim.tiny',
      '/usr/bin/vim.gtk3',
      '/usr/bin/less',
      '/usr/bin/tar',
      '/usr/bin/emacs-gtk',
    ],
    ...['/usr/bin/python3', '/usr/bin/python3.11', '/usr/bin/perl5.36.0', '/usr/bin/pip3', '/usr/bin/node-20'],
    ...['/usr/bin/gcc-12', '/usr/bin/x86_64-linux-gnu-gcc-12', '/usr/bin/g++', '/usr/bin/php8.2', '/usr/bin/ruby3.1'],
    ...[
      '/lib64/ld-linux-x86-64.so.2',
      '/usr/bin/systemd-run',
      '/usr/bin/git-shell',
      '/usr/bin/busybox',
      '/usr/bin/tee',
    ],
    ...[
      '/usr/local/bin/loopctl',
      '/usr/local/bin/loopatd',
      '/usr/bin/nc.openbsd',
      '/usr/bin/toybox',
      '/usr/bin/dotnet',
    ],
    ...['/usr/bin/GIT', '/usr/bin/Rscript'],
  ])('should be what %s amounts to', (path) => {
    expect(isFullAccess(path)).toBe(true)
  })

  it.each([
    ...['/usr/bin/gh', '/usr/bin/true', '/usr/bin/adb', '/usr/bin/cat', '/usr/bin/ls', '/usr/bin/jq', '/usr/bin/date'],
    ...['/opt/corp/deploy', '/usr/bin/shfmt', '/usr/bin/gitleaks', '/usr/bin/7z', '/usr/bin/123', '/bash/tool'],
  ])('should not be what %s amounts to', (path) => {
    expect(isFullAccess(path)).toBe(false)
  })

  it('should be known by either name', () => {
    expect(isFullAccess('/usr/local/bin/tool', '/usr/bin/bash')).toBe(true)
    expect(isFullAccess('/usr/bin/sh', '/opt/x/y')).toBe(true)
    expect(isFullAccess('/usr/bin/awk', '/usr/bin/mawk')).toBe(true)
    expect(isFullAccess()).toBe(false)
  })
})
