import { type CheckedParamsOf, LoopatError, type ResultOf, SUPPORTED_PROTOCOL_VERSIONS } from '@loopatd/protocol'
import { SERVED_METHODS } from './route.ts'

/**
 * Agrees on a protocol version: the client's, when it is served.
 * @param daemon what the client is told about this daemon
 * @throws LoopatError `protocol_unsupported` with the versions that are served
 */
export function shakeHands(
  { protocolVersion }: CheckedParamsOf<'initialize'>,
  { workspace, version }: { readonly workspace: string; readonly version: string },
): ResultOf<'initialize'> {
  if (!SUPPORTED_PROTOCOL_VERSIONS.includes(protocolVersion)) {
    const served = SUPPORTED_PROTOCOL_VERSIONS.join(', ')
    throw new LoopatError(
      'protocol_unsupported',
      `the client speaks protocol version ${protocolVersion}; this daemon serves ${served}`,
      {
        next: 'Install the same version of client and daemon, then restart the daemon.',
        details: { supported: SUPPORTED_PROTOCOL_VERSIONS },
      },
    )
  }
  return { protocolVersion, server: { name: 'loopatd', version }, workspace, capabilities: [...SERVED_METHODS] }
}
