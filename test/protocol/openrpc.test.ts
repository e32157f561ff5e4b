import { COMMON_ERRORS, ERRORS, METHODS, NOTIFICATIONS, openRpcDocument, VERSION } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'

/** The structure of OpenRPC 1.x, as far as this document uses it. */
const Descriptor = z.looseObject({
  name: z.string().min(1),
  description: z.string().min(1).optional(),
  required: z.boolean(),
  schema: z.looseObject({}),
})
const OpenRpc = z.strictObject({
  openrpc: z.string().regex(/^1\.\d+\.\d+$/),
  info: z.strictObject({
    title: z.string(),
    version: z.literal(VERSION),
    description: z.string(),
    license: z.strictObject({ name: z.literal('Apache-2.0') }),
  }),
  methods: z.array(
    z.strictObject({
      name: z.string(),
      summary: z.string().min(1),
      description: z.string().min(1),
      paramStructure: z.literal('by-name'),
      params: z.array(Descriptor),
      result: z.strictObject({ name: z.string(), schema: z.looseObject({}) }),
      errors: z.array(
        z.strictObject({ code: z.int(), message: z.string().min(1), data: z.strictObject({ name: z.string() }) }),
      ),
    }),
  ),
  'x-notifications': z.array(
    z.strictObject({
      name: z.string(),
      summary: z.string().min(1),
      description: z.string().min(1),
      params: z.array(Descriptor),
    }),
  ),
})

const document = openRpcDocument(METHODS, NOTIFICATIONS)

describe('the OpenRPC document', () => {
  it('should have the structure of OpenRPC 1.x and be plain JSON', () => {
    expect(OpenRpc.parse(document)).toBeDefined()
    expect(JSON.parse(JSON.stringify(document))).toEqual(document)
  })

  const { methods } = OpenRpc.parse(document)

  it('should have every method of the contract, with what it may fail with', () => {
    expect(methods.map(({ name }) => name)).toEqual(Object.keys(METHODS))
    for (const { errors } of methods) {
      const names = errors.map(({ data }) => data.name)
      expect(names).toEqual(expect.arrayContaining([...COMMON_ERRORS]))
      for (const { code, data } of errors) expect(ERRORS).toHaveProperty(`${data.name}.number`, code)
    }
  })

  it.each(methods.map((method) => [method.name, method] as const))(
    'should describe the params of %s, required ones first, with type and default',
    (_name, { params }) => {
      const required = params.map((param) => param.required)
      expect(required).toEqual([...required].sort((a, b) => Number(b) - Number(a)))
      for (const { name, schema, description } of params) {
        expect(description, name).toMatch(/\S/)
        const says = ['type', 'enum', 'const', 'anyOf', 'allOf', 'oneOf'].some((key) => key in schema)
        expect(says, name).toBe(true)
      }
    },
  )

  it('should tell defaults, limits and patterns', () => {
    const param = (method: string, name: string) =>
      methods.find((one) => one.name === method)?.params.find((one) => one.name === name)
    expect(param('loop/stop', 'graceSeconds')).toMatchObject({
      required: false,
      schema: { type: 'integer', minimum: 0, maximum: 600, default: 5 },
    })
    expect(param('loop/create', 'title')).toMatchObject({ required: false, schema: { type: 'string', maxLength: 200 } })
    expect(param('loop/get', 'loop')).toMatchObject({ required: true, description: expect.stringContaining('prefix') })
    expect(param('initialize', 'client')?.schema).toMatchObject({ type: 'object', additionalProperties: false })
  })
})
