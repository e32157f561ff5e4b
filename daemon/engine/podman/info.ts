import type { EngineInfo } from '../engine.ts'
import type { ApiCall, PodmanApi } from './api.ts'
import { info, read } from './schema.ts'

/** Asks podman about itself and its host; takes a third of a second, since it runs programs for that. */
export async function readInfo(api: PodmanApi, signal?: AbortSignal): Promise<EngineInfo> {
  const what = 'tell about itself'
  const call: ApiCall = { method: 'GET', path: '/v4.0.0/libpod/info', ok: [200], what, repeatable: true }
  const { host, store, version } = read(info, await api.call(call, signal), what)
  return {
    version: version.Version,
    rootless: host.security.rootless,
    storageDriver: store.graphDriverName,
    networkBackend: host.networkBackend ?? 'unknown',
    cgroupVersion: host.cgroupVersion === 'v2' ? '2' : host.cgroupVersion === 'v1' ? '1' : 'unknown',
    cgroupControllers: host.cgroupControllers ?? [],
  }
}
