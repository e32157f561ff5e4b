/** Programs that must, or should, be installed. Package names are those of Debian and Ubuntu. */
import type { DoctorCheck } from '@loopatd/protocol'
import { atLeast, failed, ok, warning } from './finding.ts'
import type { HostProbe } from './host-probe.ts'

interface Program {
  /** Any of these will do; the first is the preferred one. */
  readonly programs: readonly string[]
  readonly package: string
  readonly purpose: string
  /** Without it no loop can run. */
  readonly needed: boolean
  readonly version?: readonly number[]
}

/** Sorted by first program. */
const PROGRAMS: readonly Program[] = [
  { programs: ['aardvark-dns'], package: 'aardvark-dns', purpose: 'names of loops on a network', needed: false },
  { programs: ['catatonit'], package: 'catatonit', purpose: 'the init process of every loop', needed: true },
  { programs: ['conmon'], package: 'conmon', purpose: 'supervision of containers', needed: true },
  { programs: ['crun', 'runc'], package: 'crun', purpose: 'running containers', needed: true },
  { programs: ['flock'], package: 'util-linux', purpose: 'one daemon per workspace', needed: true },
  { programs: ['git'], package: 'git', purpose: 'repositories of loops', needed: true, version: [2, 25] },
  { programs: ['iptables', 'nft'], package: 'iptables', purpose: 'networks of loops', needed: true },
  { programs: ['netavark'], package: 'netavark', purpose: 'networks of loops', needed: true },
  { programs: ['newgidmap'], package: 'uidmap', purpose: 'group ids of sandboxes', needed: true },
  { programs: ['newuidmap'], package: 'uidmap', purpose: 'user ids of sandboxes', needed: true },
  { programs: ['podman'], package: 'podman', purpose: 'containers', needed: true, version: [4, 3] },
  {
    programs: ['slirp4netns', 'pasta'],
    package: 'slirp4netns',
    purpose: 'the way out of a loop to the network',
    needed: true,
  },
  { programs: ['ssh'], package: 'openssh-client', purpose: 'repositories over ssh', needed: false },
]

async function checkProgram(program: Program, probe: HostProbe): Promise<DoctorCheck> {
  const [preferred = ''] = program.programs
  const check = { name: `program-${preferred}`, label: `${preferred}: ${program.purpose}` }
  const fix = `sudo apt-get install ${program.package}`
  const verdict = program.needed ? failed : warning
  for (const name of program.programs) {
    const path = await probe.which(name)
    if (path === undefined) continue
    if (program.version === undefined) return ok(check, path)
    const version = await probe.version(name)
    if (version === undefined) return verdict(check, `${path} does not answer to --version`, fix)
    if (atLeast(version, program.version)) return ok(check, version)
    return verdict(
      check,
      `${version} is older than ${program.version.join('.')}`,
      `install ${name} ${program.version.join('.')} or newer`,
    )
  }
  return verdict(check, `not found: ${program.programs.join(' or ')}`, fix)
}

/** Checks every program. */
export function checkPrograms(probe: HostProbe): Promise<DoctorCheck[]> {
  return Promise.all(PROGRAMS.map((program) => checkProgram(program, probe)))
}
