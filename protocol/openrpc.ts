/** The contract as an OpenRPC document, generated from the schemas. */
import { z } from 'zod'
import { ERRORS, type ErrorName } from './error.ts'
import { COMMON_ERRORS, defineMethod, type Method, type Notification } from './method.ts'
import { VERSION } from './version.ts'

/** Arrays and objects of a message nest at most this deep, the message itself counted; deeper ones are `protocol_error`. */
export const MAX_MESSAGE_DEPTH = 64

export const rpcDiscover = defineMethod({
  method: 'rpc.discover',
  summary: 'The contract as an OpenRPC document.',
  description: 'Generated from the schemas that check every request; has no side effect.',
  params: z.strictObject({}),
  result: z.record(z.string(), z.json()).describe('An OpenRPC 1.x document.'),
  errors: [],
})

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Record<string, unknown> {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { target: 'draft-7', io, unrepresentable: 'any' })
  return rest
}

/** Params are always one object; OpenRPC lists its properties as named content descriptors. */
function paramDescriptors(params: z.ZodType): unknown[] {
  const schema = jsonSchema(params, 'input')
  const properties = (schema.properties ?? {}) as Record<string, Record<string, unknown>>
  const required = new Set((schema.required ?? []) as string[])
  const descriptors = Object.entries(properties).map(([name, property]) => ({
    name,
    required: required.has(name),
    ...(typeof property.description === 'string' ? { description: property.description } : {}),
    schema: property,
  }))
  return descriptors.sort((a, b) => Number(b.required) - Number(a.required))
}

function errorObject(name: ErrorName): unknown {
  return { code: ERRORS[name].number, message: ERRORS[name].meaning, data: { name } }
}

function methodObject(method: Method): unknown {
  const errors = [...new Set<ErrorName>([...method.errors, ...COMMON_ERRORS])].sort()
  return {
    name: method.method,
    summary: method.summary,
    description: method.description,
    paramStructure: 'by-name',
    params: paramDescriptors(method.params),
    result: { name: 'result', schema: jsonSchema(method.result, 'output') },
    errors: errors.map(errorObject),
  }
}

/** Notifications go from daemon to client; OpenRPC has no place for them but an extension. */
function notificationObject(notification: Notification): unknown {
  return {
    name: notification.notification,
    summary: notification.summary,
    description: notification.description,
    params: paramDescriptors(notification.params),
  }
}

/**
 * Makes the OpenRPC 1.x document.
 * @param methods what to describe, by name
 * @param notifications sent by the daemon, by name
 */
export function openRpcDocument(
  methods: Readonly<Record<string, Method>>,
  notifications: Readonly<Record<string, Notification>>,
): Record<string, unknown> {
  return {
    openrpc: '1.3.2',
    info: {
      title: 'loopatd',
      version: VERSION,
      description: `JSON-RPC 2.0 with Content-Length framing over a unix socket; \`initialize\` comes first. Arrays and objects of a message nest at most ${MAX_MESSAGE_DEPTH} levels deep.`,
      license: { name: 'Apache-2.0' },
    },
    methods: Object.values(methods).map(methodObject),
    'x-notifications': Object.values(notifications).map(notificationObject),
  }
}
