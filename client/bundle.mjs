/**
 * Bundles loopctl into one file. Reading and linking many modules is most of what a start costs, and CommonJS needs no
 * asynchronous loader. Modules that are imported with `import()` are in the file, but do not run before they are needed.
 */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

/**
 * Modules of Node.js that vendors and our own modules import at the top and that most commands never use. In the bundle
 * each is loaded at its first use.
 */
const LAZY = ['child_process', 'crypto', 'timers/promises']

const lazyBuiltins = {
  name: 'lazy-builtins',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: new RegExp(`^(node:)?(${LAZY.join('|')})$`) }, ({ path }) => ({
      path: path.replace(/^node:/, ''),
      namespace: 'lazy-builtin',
    }))
    onLoad({ filter: /.*/, namespace: 'lazy-builtin' }, ({ path }) => ({ contents: lazyModule(path) }))
  },
}

/** A module with the same exports, each a getter. */
function lazyModule(name) {
  const names = Object.keys(createRequire(import.meta.url)(`node:${name}`))
  return `for (const name of ${JSON.stringify(names)}) {
    const get = () => process.getBuiltinModule(${JSON.stringify(`node:${name}`)})[name]
    Object.defineProperty(exports, name, { get, enumerable: true })
  }`
}

const here = fileURLToPath(new URL('.', import.meta.url))
await build({
  entryPoints: [`${here}cli/main.ts`],
  outfile: `${here}dist/loopctl/main.cjs`,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20.19',
  // Names stay: they are in the stacks that people report.
  minifySyntax: true,
  minifyWhitespace: true,
  define: { 'import.meta.url': '__filename' },
  plugins: [lazyBuiltins],
  logLevel: 'warning',
})
