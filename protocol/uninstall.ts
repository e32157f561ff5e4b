/**
 * Removing a workspace from this machine. Not a method, since no daemon runs then: `loopatd uninstall` says these things
 * on its standard output, one JSON object ({@link UninstallLine}) on each line.
 */
import { z } from 'zod'

export const UninstallResource = z.strictObject({
  kind: z.enum(['container', 'image', 'network', 'service', 'data']),
  name: z
    .string()
    .describe('Name of the container, tag of the image, name of the network, socket of the podman service, or a path.'),
})
export type UninstallResource = z.infer<typeof UninstallResource>

export const UninstallPlan = z.strictObject({
  workspace: z.string(),
  home: z.string(),
  loops: z.int().describe('Loops, archived ones included, whose files are in the home.'),
  mirrors: z.int().describe('Mirrors of repositories in the home.'),
  vaults: z.int().describe('Vaults of credentials in the home.'),
  noPodman: z
    .string()
    .nullable()
    .describe('Why containers, images and networks are not looked for; null when they are.'),
  resources: z.array(UninstallResource).describe('What would be removed, in this order.'),
  kept: z.array(z.string()).describe("Paths in the home that are not loopat's: they stay, and the home with them."),
})
export type UninstallPlan = z.infer<typeof UninstallPlan>

export const UninstallVerdict = UninstallResource.extend({
  removed: z.boolean().describe('Whether nothing of it is left.'),
  reason: z.string().nullable().describe('Why it is left.'),
})
export type UninstallVerdict = z.infer<typeof UninstallVerdict>

/** One line of output: the plan, what became of one thing, or why nothing goes on. */
export type UninstallLine =
  | { readonly plan: UninstallPlan }
  | { readonly verdict: UninstallVerdict }
  | { readonly error: { readonly name: string; readonly message: string; readonly next: string | null } }
