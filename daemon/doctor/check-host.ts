/** The user, the kernel and the devices. */
import type { DoctorCheck } from '@loopatd/protocol'
import { failed, ok, warning } from './finding.ts'
import type { HostProbe } from './host-probe.ts'

/** Ids that a sandbox needs: one range of the usual size. */
const MIN_SUBORDINATE_IDS = 65_536

function checkUser(probe: HostProbe): DoctorCheck {
  const check = { name: 'user', label: 'an unprivileged user' }
  if (probe.uid === 0)
    return failed(check, 'loopatd runs as root; loops are rootless', 'run loopatd as an unprivileged user')
  return ok(check, `${probe.userName} (uid ${probe.uid})`)
}

async function checkSubordinateIds(kind: 'uid' | 'gid', probe: HostProbe): Promise<DoctorCheck> {
  const path = `/etc/sub${kind}`
  const check = { name: `sub${kind}`, label: `subordinate ${kind}s for sandboxes` }
  const lines = ((await probe.read(path)) ?? '').split('\n').map((line) => line.split(':'))
  const mine = lines.filter(([owner]) => owner === probe.userName || owner === String(probe.uid))
  const count = mine.reduce((sum, [, , size]) => sum + (Number(size) || 0), 0)
  if (count >= MIN_SUBORDINATE_IDS) return ok(check, `${count} in ${path}`)
  const option = `--add-sub${kind}s`
  return failed(
    check,
    `${count} in ${path}; ${MIN_SUBORDINATE_IDS} are needed`,
    `sudo usermod ${option} 100000-165535 ${probe.userName} (choose a range that no other line of ${path} uses)`,
  )
}

/** A kernel switch that forbids user namespaces when it has this value. */
const NAMESPACE_SWITCHES = [
  {
    path: '/proc/sys/kernel/unprivileged_userns_clone',
    forbids: '0',
    fix: 'sudo sysctl -w kernel.unprivileged_userns_clone=1',
  },
  { path: '/proc/sys/user/max_user_namespaces', forbids: '0', fix: 'sudo sysctl -w user.max_user_namespaces=28633' },
]

async function checkUserNamespaces(probe: HostProbe): Promise<DoctorCheck> {
  const check = { name: 'user-namespaces', label: 'user namespaces without root' }
  for (const { path, forbids, fix } of NAMESPACE_SWITCHES) {
    if ((await probe.read(path))?.trim() === forbids) return failed(check, `${path} is ${forbids}`, fix)
  }
  return ok(check, 'allowed by the kernel')
}

async function checkDevice(path: string, purpose: string, needed: boolean, probe: HostProbe): Promise<DoctorCheck> {
  const check = { name: `device-${path.split('/').pop()}`, label: `${path}: ${purpose}` }
  const usable = await probe.writable(path)
  if (usable === true) return ok(check, 'readable and writable')
  const verdict = needed ? failed : warning
  if (usable === undefined) return verdict(check, 'missing', `sudo modprobe ${path.split('/').pop()}`)
  return verdict(check, 'not writable for this user', `sudo chmod 0666 ${path}`)
}

async function checkLinger(probe: HostProbe): Promise<DoctorCheck> {
  const check = { name: 'linger', label: 'loops survive logging out' }
  if ((await probe.stat('/run/systemd/system')) === undefined)
    return ok(check, 'this host has no systemd that would end them')
  if ((await probe.stat(`/var/lib/systemd/linger/${probe.userName}`)) !== undefined) return ok(check, 'lingering is on')
  return warning(
    check,
    'the user manager, and loops with it, ends when you log out',
    `loginctl enable-linger ${probe.userName}`,
  )
}

/** Checks the host. */
export async function checkHost(probe: HostProbe): Promise<DoctorCheck[]> {
  return [
    checkUser(probe),
    ...(await Promise.all([
      checkSubordinateIds('uid', probe),
      checkSubordinateIds('gid', probe),
      checkUserNamespaces(probe),
      checkDevice('/dev/net/tun', 'networks of loops', true, probe),
      checkDevice('/dev/fuse', 'containers inside of loops', false, probe),
      checkLinger(probe),
    ])),
  ]
}
