import { z } from 'zod'
import type { Random } from '../harness/random.ts'

/** As much of a JSON schema as the contract uses. */
interface Schema {
  readonly type?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: Schema | boolean
  readonly items?: Schema
  readonly minimum?: number
  readonly maximum?: number
  readonly minLength?: number
  readonly maxLength?: number
}

/** Text that is legal in most places, or that has been trouble somewhere. */
const TEXTS = [
  'a',
  'fuzz',
  'x-1',
  'A',
  '',
  ' ',
  '-',
  '..',
  '../../etc',
  '/',
  '/tmp',
  'ä€😀',
  '\ud800',
  '\0',
  '\n',
  '%s%n',
  '$(id)',
  '__proto__',
  'constructor',
  '0'.repeat(64),
  'localhost/none:1',
]
const STRANGE = [null, true, false, 0, -1, 1.5, 1e308, 2 ** 53, '', 'x', [], {}, [[[]]], { __proto__: null }]

/** Makes params from the schemas of the contract: valid ones as far as the schema tells, and almost valid ones. */
export class SchemaValues {
  readonly #random: Random
  /** Made once each: making one takes longer than the daemon takes to answer. */
  readonly #schemas = new Map<z.ZodType, Schema>()

  constructor(random: Random) {
    this.#random = random
  }

  /** Params that the schema describes. Rules that only code knows may still refuse them. */
  valid(schema: z.ZodType): Record<string, unknown> {
    const made = this.#make(this.#jsonSchema(schema))
    return typeof made === 'object' && made !== null ? { ...made } : {}
  }

  /** The same with one thing changed: something is missing, too much, or of another type. */
  almost(schema: z.ZodType): unknown {
    const value = this.valid(schema)
    const names = Object.keys(value)
    const name = names.length === 0 ? 'nothing' : this.#random.pick(names)
    switch (this.#random.below(4)) {
      case 0:
        delete value[name]
        return value
      case 1:
        return { ...value, [this.#random.pick(TEXTS)]: this.#random.pick(STRANGE) }
      case 2:
        return { ...value, [name]: this.#random.pick(STRANGE) }
      default:
        return this.#random.below(2) === 0 ? [value] : { ...value, [name]: { [name]: value[name] } }
    }
  }

  #jsonSchema(schema: z.ZodType): Schema {
    const known = this.#schemas.get(schema)
    if (known !== undefined) return known
    const made = z.toJSONSchema(schema, { target: 'draft-7', io: 'input', unrepresentable: 'any' }) as Schema
    this.#schemas.set(schema, made)
    return made
  }

  #make(schema: Schema, depth = 0): unknown {
    const { enum: values, anyOf, oneOf } = schema
    if ('const' in schema) return schema.const
    if (values !== undefined) return this.#random.pick(values)
    if (anyOf !== undefined || oneOf !== undefined) return this.#make(this.#random.pick(anyOf ?? oneOf ?? []), depth)
    switch (schema.type) {
      case 'object':
        return this.#object(schema, depth)
      case 'array':
        return Array.from({ length: 1 + this.#random.below(3) }, () => this.#make(schema.items ?? {}, depth + 1))
      case 'string':
        return this.#text(schema)
      case 'integer':
      case 'number':
        return this.#number(schema)
      case 'boolean':
        return this.#random.below(2) === 0
      default:
        return depth > 3 ? null : this.#random.pick(STRANGE)
    }
  }

  #object({ properties = {}, required = [], additionalProperties }: Schema, depth: number): Record<string, unknown> {
    const entries = Object.entries(properties)
      .filter(([name]) => required.includes(name) || this.#random.below(2) === 0)
      .map(([name, schema]) => [name, this.#make(schema, depth + 1)])
    const isOpen = typeof additionalProperties === 'object' && this.#random.below(2) === 0
    const more = isOpen ? [[this.#random.pick(TEXTS), this.#make(additionalProperties, depth + 1)]] : []
    return Object.fromEntries([...entries, ...more])
  }

  #text({ minLength = 0, maxLength = 100 }: Schema): string {
    if (this.#random.below(8) === 0) return 'y'.repeat(Math.min(maxLength, 5000))
    const text = this.#random.pick(TEXTS)
    return text.length < minLength ? 'z'.repeat(minLength) : text.slice(0, maxLength)
  }

  #number({ minimum = -5, maximum = 5 }: Schema): number {
    return this.#random.pick([minimum, maximum, minimum + this.#random.below(Math.min(maximum - minimum, 1e9) + 1)])
  }
}
