import { readFileSync } from 'node:fs'
import {
  ERRORS,
  EventKind,
  METHODS,
  NOTIFICATIONS,
  PROTOCOL_VERSION,
  SUPPORTED_PROTOCOL_VERSIONS,
  VERSION,
} from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'

const methods = Object.entries(METHODS)
const notifications = Object.entries(NOTIFICATIONS)

/** The shape of an object schema. */
function shapeOf(schema: z.ZodType): Record<string, z.ZodType> {
  if (!(schema instanceof z.ZodObject)) throw new Error('params must be an object')
  return schema.shape
}

describe('the contract', () => {
  it('should list methods and notifications sorted, each under its own name', () => {
    expect(methods.map(([name]) => name)).toEqual(methods.map(([name]) => name).sort())
    expect(methods.map(([, { method }]) => method)).toEqual(methods.map(([name]) => name))
    expect(notifications.map(([name]) => name)).toEqual(notifications.map(([name]) => name).sort())
    expect(notifications.map(([, { notification }]) => notification)).toEqual(notifications.map(([name]) => name))
  })

  it.each(methods)('should describe %s and list errors of the catalogue, sorted and once', (_name, method) => {
    expect(method.summary).toMatch(/^[A-Z].*\.$/)
    expect(method.description.length).toBeGreaterThan(0)
    const errors: readonly string[] = method.errors
    expect(errors).toEqual([...new Set(errors)].sort())
    for (const name of errors) expect(ERRORS).toHaveProperty(name)
  })

  it.each(methods)('should take the params of %s by name only, and no unknown keys', (_name, method) => {
    shapeOf(method.params)
    const result = method.params.safeParse({ 'no such key': 1 })
    expect(result.error?.issues).toContainEqual(expect.objectContaining({ code: 'unrecognized_keys' }))
    expect(method.params.safeParse([]).success).toBe(false)
  })

  it('should offer every notification to subscribers, each with its subscription', () => {
    expect(EventKind.options).toEqual(notifications.map(([name]) => name))
    for (const [, { params }] of notifications) expect(shapeOf(params)).toHaveProperty('subscription')
  })

  it('should serve its own protocol version, and have one product version everywhere', () => {
    expect(SUPPORTED_PROTOCOL_VERSIONS).toContain(PROTOCOL_VERSION)
    for (const folder of ['.', 'protocol', 'client', 'daemon']) {
      const manifest: unknown = JSON.parse(
        readFileSync(new URL(`../../${folder}/package.json`, import.meta.url), 'utf8'),
      )
      expect(manifest).toHaveProperty('version', VERSION)
    }
  })
})
