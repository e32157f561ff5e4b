import { describe, expect, it } from 'vitest'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { METHODS } from '../../../protocol/index.ts'
import { never, Workshop } from './kit.ts'

const use = { start: true, owner: 'exec', reason: 'a test' }

describe('plain variables', () => {
  it('should be set, listed and taken away without touching the container', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ name: 'x' })
    shop.calls()
    expect(await shop.service.setEnv({ loop: 'x', env: { B: '2', A: '1' } }, never)).toEqual({
      env: { A: '1', B: '2' },
    })
    expect(await shop.service.setEnv({ loop: 'x', env: { A: 'new' } }, never)).toEqual({ env: { A: 'new', B: '2' } })
    expect(await shop.service.listEnv({ loop: 'x' }, never)).toEqual({ env: { A: 'new', B: '2' } })
    const held = await shop.service.use('x', use, noProgress, never)
    expect(held.env).toMatchObject({ A: 'new', B: '2', LOOPAT_LOOP_ID: id })
    held.release()
    expect(await shop.service.unsetEnv({ loop: 'x', names: ['A', 'MISSING'] }, never)).toEqual({ env: { B: '2' } })
    expect(await shop.service.unsetEnv({ loop: 'x', names: ['B'] }, never)).toEqual({ env: {} })
    expect(await shop.meta(id)).not.toHaveProperty('env')
    expect(await shop.start('x')).toMatchObject({ action: 'none' })
    expect(shop.calls().filter((call) => !/inspect|ping/.test(call))).toEqual([])
  })

  it('should not be changed in an archived loop, but shown', async () => {
    await using shop = await Workshop.open()
    await shop.create({ name: 'x', start: false })
    await shop.service.setEnv({ loop: 'x', env: { A: '1' } }, never)
    await shop.service.archive({ loop: 'x' }, never)
    await expect(shop.service.setEnv({ loop: 'x', env: { A: '2' } }, never)).rejects.toMatchObject({
      code: 'loop_archived',
    })
    await expect(shop.service.unsetEnv({ loop: 'x', names: ['A'] }, never)).rejects.toMatchObject({
      code: 'loop_archived',
    })
    expect(await shop.service.listEnv({ loop: 'x' }, never)).toEqual({ env: { A: '1' } })
  })

  it('should have a limit together', async () => {
    await using shop = await Workshop.open()
    await shop.create({ name: 'x', start: false })
    await shop.service.setEnv({ loop: 'x', env: { A: 'x'.repeat(40_000) } }, never)
    await expect(shop.service.setEnv({ loop: 'x', env: { B: 'x'.repeat(40_000) } }, never)).rejects.toMatchObject({
      code: 'invalid_params',
    })
    expect(Object.keys((await shop.service.listEnv({ loop: 'x' }, never)).env)).toEqual(['A'])
  })

  it.each([{ 'A-B': '1' }, { '': '1' }, { A: 'x\0y' }, { '1A': '1' }])('should be refused at the edge: %j', (env) => {
    expect(METHODS['env/set'].params.safeParse({ loop: 'x', env }).success).toBe(false)
  })
})

describe('the vault of a loop', () => {
  it('should give its variables to a use, unless the loop sets them itself', async () => {
    await using shop = await Workshop.open()
    await shop.vaults.create('ada', 'work')
    for (const name of ['TOKEN', 'BOTH']) {
      await shop.vaults.write('ada', 'work', { path: ['envs', name], content: Buffer.from('vault') })
    }
    const loop = await shop.create({ name: 'x', vault: 'work' })
    expect(loop.vault).toBe('work')
    await shop.service.setEnv({ loop: 'x', env: { BOTH: 'loop' } }, never)
    const held = await shop.service.use('x', use, noProgress, never)
    expect(held).toMatchObject({ env: { BOTH: 'loop' }, secrets: { TOKEN: 'vault' } })
    expect(held.env).not.toHaveProperty('TOKEN')
    held.release()
  })

  it('should exist when a loop is to use it, or nothing is made', async () => {
    await using shop = await Workshop.open()
    await expect(shop.create({ vault: 'nowhere' })).rejects.toMatchObject({ code: 'vault_not_found' })
    expect(await shop.names('loops')).toEqual([])
  })

  it('should be `default` when none is named, or `default` is', async () => {
    await using shop = await Workshop.open()
    const named = await shop.create({ name: 'x', vault: 'default', start: false })
    expect(named.vault).toBe('default')
    expect(await shop.meta(named.id)).not.toHaveProperty('vault')
    await shop.create({ name: 'y', start: false })
    expect((await shop.service.selecting('ada', 'default')).toSorted()).toEqual(['x', 'y'])
    expect(await shop.service.selecting('bob', 'default')).toEqual([])
  })

  it('should say what is wrong when it was removed all the same', async () => {
    await using shop = await Workshop.open()
    await shop.vaults.create('ada', 'work')
    await shop.create({ name: 'x', vault: 'work' })
    await shop.vaults.remove('ada', 'work')
    await expect(shop.service.use('x', use, noProgress, never)).rejects.toMatchObject({ code: 'vault_not_found' })
    expect((await shop.list()).map(({ name, vault }) => ({ name, vault }))).toEqual([{ name: 'x', vault: 'work' }])
    await shop.stop('x')
    await expect(shop.start('x')).rejects.toMatchObject({ code: 'vault_not_found' })
    await shop.vaults.create('ada', 'work')
    expect(await shop.start('x')).toMatchObject({ action: 'started' })
  })
})
