/** Decides whether a body is a message that a client may send. The JSON-RPC library would accept, drop or choke on more. */
import { isUtf8 } from 'node:buffer'
import { LoopatError, MAX_MESSAGE_DEPTH } from '@loopatd/protocol'
import type { Message, NotificationMessage, RequestMessage, ResponseMessage } from 'vscode-jsonrpc/node'

/** Longest id of a request, when it is a string, in characters. */
const MAX_ID_LENGTH = 256

function invalid(rule: string): LoopatError {
  return new LoopatError('protocol_error', `not a valid message: ${rule}`, {
    next: 'Send JSON-RPC 2.0 requests and notifications, one per message.',
  })
}

/** Whether `id` can name a request. */
function isId(id: unknown): id is string | number {
  return typeof id === 'number' || (typeof id === 'string' && id.length <= MAX_ID_LENGTH)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Bytes that tell how deep a value nests. */
const BYTE = { quote: 0x22, backslash: 0x5c, openArray: 0x5b, closeArray: 0x5d, openObject: 0x7b, closeObject: 0x7d }

/**
 * Whether arrays and objects nest deeper than is allowed. Found before the body is parsed: a few kilobytes of brackets
 * take the parser's time and memory, and whatever looks at the value later runs out of stack.
 */
function isTooDeep(body: Buffer): boolean {
  let depth = 0
  let isText = false
  for (let at = 0; at < body.length; at += 1) {
    const byte = body[at]
    if (byte === BYTE.quote) isText = !isText
    else if (isText) at += byte === BYTE.backslash ? 1 : 0
    else if (byte === BYTE.openArray || byte === BYTE.openObject) depth += 1
    else if (byte === BYTE.closeArray || byte === BYTE.closeObject) depth -= 1
    if (depth > MAX_MESSAGE_DEPTH) return true
  }
  return false
}

function parse(body: Buffer): unknown {
  if (!isUtf8(body)) throw invalid('the body is not UTF-8')
  if (isTooDeep(body)) throw invalid(`the body nests deeper than ${MAX_MESSAGE_DEPTH} levels`)
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    // The parser quotes the input, which may hold secrets: its words go no further.
    if (error instanceof SyntaxError) throw invalid('the body is not JSON')
    throw error
  }
}

/** Whether the message expects an answer. */
export function isRequest(message: Message): message is RequestMessage {
  return 'id' in message && 'method' in message
}

/** Whether the message answers a request of the daemon. */
export function isAnswer(message: Message): boolean {
  return !('method' in message)
}

function answer(id: string | number): ResponseMessage {
  return { jsonrpc: '2.0', id, result: null }
}

/**
 * Parses a body.
 * @throws LoopatError `protocol_error` when it is no request, notification or answer of JSON-RPC 2.0
 */
export function parseMessage(body: Buffer): RequestMessage | NotificationMessage | ResponseMessage {
  const value = parse(body)
  if (!isObject(value)) throw invalid('the body must be one object')
  const { jsonrpc, id, method, params } = value
  if (jsonrpc !== '2.0') throw invalid('`jsonrpc` must be "2.0"')
  // Nobody needs to know what the answer says.
  if (method === undefined && isId(id) && ('result' in value || isObject(value.error))) return answer(id)
  if (typeof method !== 'string') throw invalid('`method` must be a string')
  if ('id' in value && !isId(id)) {
    throw invalid(`\`id\` must be a number, or a string of at most ${MAX_ID_LENGTH} characters`)
  }
  if (params !== undefined && (typeof params !== 'object' || params === null)) {
    throw invalid('`params` must be an object')
  }
  if (method === '$/cancelRequest' && !('id' in value) && !(isObject(params) && isId(params.id))) {
    throw invalid('`$/cancelRequest` must name the id of a request')
  }
  const common = { jsonrpc: '2.0', method, ...(params === undefined ? {} : { params }) }
  return isId(id) ? { ...common, id } : common
}
