import { describe, expect, it } from 'vitest'
import { fromWire } from '../../client/wire-error.ts'

describe('fromWire', () => {
  it('should keep what the catalogue knows', () => {
    const data = { name: 'name_taken', next: 'choose another', details: { name: 'x' } }
    expect(fromWire({ code: 1023, message: 'taken', data })).toMatchObject({
      code: 'name_taken',
      message: 'taken',
      next: 'choose another',
      details: { name: 'x' },
    })
  })

  it.each([
    [
      'a name of a newer daemon',
      { name: 'quota_exceeded', details: { limit: 1 } },
      { limit: 1, wireName: 'quota_exceeded' },
    ],
    ['no name', {}, { wireName: null }],
    ['no data', undefined, { wireName: null }],
    ['data of another kind', 'x', { wireName: null }],
    ['fields of another kind', { name: 7, next: 7, details: [] }, { wireName: 7 }],
  ])('should tolerate %s', (_what, data, details) => {
    const error = fromWire({ code: 2000, message: 'too much', data })
    expect(error).toMatchObject({ code: 'internal', message: 'too much', next: undefined })
    expect(error.details).toEqual({ ...details, wireCode: 2000 })
  })
})
