/** Checks params against the contract and says in plain words what is wrong with them. */
import { type CheckedParamsOf, LoopatError, METHODS, type MethodName } from '@loopatd/protocol'
import type { z } from 'zod'

/** Names in messages are cut to this many characters: they come from the client. */
const MAX_NAME = 64
/** So many problems are listed in the details. */
const MAX_ISSUES = 10

type Issue = z.core.$ZodIssue

const quote = (name: PropertyKey): string => JSON.stringify(String(name).slice(0, MAX_NAME))

function pathOf(issue: Issue): string {
  return issue.path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part).slice(0, MAX_NAME)}`))
    .join('')
    .replace(/^\./, '')
}

/** What a size is counted in, by what has it; everything else is a number itself. */
const UNITS: Readonly<Record<string, string>> = { array: 'item', string: 'character' }

function sizeRule(issue: z.core.$ZodIssueTooBig | z.core.$ZodIssueTooSmall): string {
  const [bound, limit] = issue.code === 'too_big' ? ['at most', issue.maximum] : ['at least', issue.minimum]
  const unit = UNITS[issue.origin]
  return unit === undefined
    ? `must be ${bound} ${limit}`
    : `must have ${bound} ${limit} ${unit}${limit === 1 ? '' : 's'}`
}

/** Type names of zod that do not read well. */
const TYPES: Readonly<Record<string, string>> = {
  array: 'an array',
  int: 'a whole number',
  record: 'an object',
  object: 'an object',
}

/** The rule that was broken, as the end of a sentence that begins with the name of the param. */
function ruleOf(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is missing' : `must be ${TYPES[issue.expected] ?? `a ${issue.expected}`}`
    case 'too_big':
    case 'too_small':
      // A rule of the contract that brings its own words begins with "must".
      return issue.message.startsWith('must') ? issue.message : sizeRule(issue)
    case 'invalid_value':
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`
    case 'unrecognized_keys':
      return `has the unknown key ${issue.keys.map(quote).join(', ')}`
    case 'invalid_union':
      return 'has none of the accepted forms'
    case 'invalid_key':
      return issue.issues[0]?.message ?? 'is not an accepted name'
    default:
      return issue.message
  }
}

function describe(issue: Issue): { path: string; rule: string } {
  return { path: pathOf(issue), rule: ruleOf(issue) }
}

/**
 * Checks the params of a request and fills in defaults.
 * @param params as they came; a request without any has an empty object
 * @throws LoopatError `invalid_params` that names the method, the param and the rule
 */
export function checkParams<M extends MethodName>(method: M, params: unknown): CheckedParamsOf<M> {
  const next = `\`loopctl rpc --discover\` describes ${method}.`
  if (Array.isArray(params)) {
    throw new LoopatError('invalid_params', `${method}: params must be an object, by name and not by position`, {
      next,
    })
  }
  const result = METHODS[method].params.safeParse(params ?? {}, { reportInput: true })
  // The schema of this very method made it; TypeScript cannot follow that through the table.
  if (result.success) return result.data as CheckedParamsOf<M>
  const issues = result.error.issues.slice(0, MAX_ISSUES).map(describe)
  const { path, rule } = issues[0] ?? { path: '', rule: 'must be as the contract says' }
  throw new LoopatError('invalid_params', `${method}: ${path === '' ? 'params' : path} ${rule}`, {
    next,
    details: { issues },
  })
}
