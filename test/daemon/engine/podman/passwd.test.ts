import { describe, expect, it } from 'vitest'
import { withUser } from '../../../../daemon/engine/podman/passwd.ts'

const user = { uid: 2000, gid: 2000, name: 'loopat', home: '/home/loopat' }
const ROOT = 'root:x:0:0:root:/root:/bin/sh\n'
const OWN = 'loopat:x:2000:2000:loopat:/home/loopat:/bin/sh\n'

describe('the list of users of an image', () => {
  it.each([
    ['has the user already', `${ROOT}${OWN}`, undefined],
    ['has it under another name', `${ROOT}dev:x:2000:2000::/home/loopat:/bin/zsh\n`, undefined],
    ['is empty', '', OWN],
    ['does not have it', ROOT, `${ROOT}${OWN}`],
    ['has no final line break', ROOT.trimEnd(), `${ROOT}${OWN}`],
    [
      'has it with another home',
      `dev:x:2000:2000:Dev:/home/dev:/bin/zsh\n${ROOT}`,
      `${ROOT}dev:x:2000:2000:loopat:/home/loopat:/bin/zsh\n`,
    ],
    [
      'gives its name to somebody else',
      'loopat:x:1000:1000::/home/x:/bin/sh\n',
      'loopat:x:1000:1000::/home/x:/bin/sh\nloopat-2000:x:2000:2000:loopat:/home/loopat:/bin/sh\n',
    ],
    ['holds nonsense', 'nonsense\n', `nonsense\n${OWN}`],
  ])('should be mended when it %s', (_what, before, after) => {
    expect(withUser(before, user)).toBe(after)
  })
})
