import { describe, expect, it } from 'vitest'
import { describeProgress, labelStep } from '../../../daemon/image/image-progress.ts'

describe('labelStep', () => {
  it.each([
    ['FROM localhost/base:1', 'base image'],
    ['COPY ca/ /usr/local/share/ca-certificates/', 'certificate authorities'],
    ['COPY files/ /', 'files'],
    ['ENV LANG=C.UTF-8', 'environment'],
    ['ARG REFRESH', 'environment'],
    ['RUN set -eu; apt-get -q update', 'system packages'],
    ['RUN useradd loopat', 'user setup'],
    ['RUN true', 'commands'],
    ['USER loopat', 'settings'],
    ['CMD ["sleep", "infinity"]', 'settings'],
  ])('should call "%s" %s', (instruction, label) => {
    expect(labelStep(instruction)).toBe(label)
  })
})

describe('describeProgress', () => {
  /** A sink with the lines it passed on, and a clock to turn. */
  function setUp() {
    const lines: string[] = []
    const clock = { ms: 0 }
    const sink = describeProgress(
      'Building',
      ({ message }) => lines.push(message),
      () => clock.ms,
    )
    return { lines, clock, sink }
  }

  it('should name every step by what it is about', () => {
    const { lines, sink } = setUp()
    sink({ message: 'STEP 1/9: FROM localhost/base:1', step: 1, total: 9 })
    sink({ message: 'STEP 4/9: RUN apt-get update', step: 4, total: 9 })
    sink({ message: 'RUN true', step: 5 })
    expect(lines).toEqual([
      'Building: base image (step 1/9)',
      'Building: system packages (step 4/9)',
      'Building: commands (step 5)',
    ])
  })

  it('should pass on a line of output now and then', () => {
    const { lines, clock, sink } = setUp()
    sink({ message: 'RUN apt-get update', step: 1, total: 2 })
    sink({ message: 'Get:1 something' })
    clock.ms = 1000
    sink({ message: '' })
    sink({ message: 'Unpacking gcc', step: 1, total: 2 })
    sink({ message: 'Unpacking g++' })
    clock.ms = 1500
    sink({ message: 'Unpacking make' })
    expect(lines).toEqual([
      'Building: system packages (step 1/2)',
      'Building: system packages (step 1/2): Unpacking gcc',
    ])
  })

  it('should take everything out of output that a terminal would obey', () => {
    const { lines, sink } = setUp()
    sink({ message: '\n\u001b[31mred\u0007\tand\r\nnext line' })
    expect(lines).toEqual(['Building: [31mred and next line'])
  })
})
