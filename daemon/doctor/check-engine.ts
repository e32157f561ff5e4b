/** podman itself: whether it answers, and how it is set up. Pure. */
import type { DoctorCheck, EngineState } from '@loopatd/protocol'
import type { EngineInfo } from '../engine/engine.ts'
import { failed, ok, warning } from './finding.ts'

const STORAGE_FIX =
  'set driver = "overlay" in ~/.config/containers/storage.conf and begin a new store (podman system reset removes all containers and images)'

/** Versions of podman that lose track of containers, and what mends that. */
const UNSOUND: Readonly<Record<string, { readonly defect: string; readonly better: string }>> = {
  '4.8.0': { defect: 'fails with "database is locked" when much goes on', better: '4.8.1' },
  '5.8.0': { defect: 'may lose containers when it moves them to its new database', better: '5.8.1' },
}

function checkVersion({ version }: EngineInfo): DoctorCheck {
  const check = { name: 'engine-version', label: 'version of podman' }
  const unsound = UNSOUND[version]
  if (unsound === undefined) return ok(check, version)
  return warning(check, `${version} ${unsound.defect}`, `install podman ${unsound.better} or newer`)
}

function checkStorage(info: EngineInfo): DoctorCheck {
  const check = { name: 'storage-driver', label: 'storage driver of podman' }
  if (info.storageDriver === 'vfs') return warning(check, 'vfs copies whole images for every loop', STORAGE_FIX)
  return ok(check, info.storageDriver)
}

function checkNetwork(info: EngineInfo): DoctorCheck {
  const check = { name: 'network-backend', label: 'network back end of podman' }
  if (info.networkBackend === 'netavark') return ok(check, info.networkBackend)
  return warning(
    check,
    `${info.networkBackend} is no longer maintained`,
    'set network_backend = "netavark" under [network] in ~/.config/containers/containers.conf',
  )
}

function checkCgroups(info: EngineInfo): DoctorCheck {
  const check = { name: 'cgroups', label: 'limits on memory and processes' }
  if (info.cgroupControllers.includes('memory'))
    return ok(check, `cgroup v${info.cgroupVersion}: ${info.cgroupControllers.join(', ')}`)
  return warning(
    check,
    'not enforceable: no memory controller is delegated to this user',
    'use a host with cgroup v2 and systemd --user, which delegates controllers',
  )
}

/** What was chosen and does not work is passed over; whoever chose it wants to know. */
function checkChoice({ reason, socket }: EngineState): DoctorCheck {
  const check = { name: 'engine-socket', label: 'choice of the podman socket' }
  if (reason === null) return ok(check, socket ?? 'none in use')
  return warning(
    check,
    `${reason}; ${socket} is used instead`,
    'start podman there (systemctl --user start podman.socket) or take the setting away, then: loopctl daemon restart',
  )
}

/** Processes that every command leaves behind for a while are ended sooner only by our own service. */
function checkDelay(engine: EngineState): DoctorCheck {
  const check = { name: 'exit-command-delay', label: 'clean-up after commands' }
  if (engine.owned) return ok(check, 'set up by loopatd')
  return warning(
    check,
    'a podman service of your own may keep two processes per command for five minutes',
    'set exit_command_delay = 10 under [engine] in ~/.config/containers/containers.conf',
  )
}

/**
 * Checks the engine.
 * @param info undefined when it does not answer
 */
export function checkEngine(engine: EngineState, info: EngineInfo | undefined): DoctorCheck[] {
  const check = { name: 'engine', label: 'podman answers' }
  if (info === undefined) {
    return [failed(check, engine.reason ?? 'no answer', 'mend the failed checks above, then: loopctl daemon restart')]
  }
  const answers = ok(
    check,
    `podman ${info.version} on ${engine.socket ?? 'its socket'}${engine.owned ? ', started by loopatd' : ''}`,
  )
  const rootless = { name: 'rootless', label: 'podman is rootless' }
  return [
    answers,
    info.rootless
      ? ok(rootless, 'yes')
      : failed(rootless, 'the socket belongs to a rootful podman', 'use the socket of your own user'),
    checkChoice(engine),
    checkVersion(info),
    checkStorage(info),
    checkNetwork(info),
    checkCgroups(info),
    checkDelay(engine),
  ]
}
