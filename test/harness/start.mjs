// node test/harness/start.mjs MODULE [WORDS...]: calls `main` of a TypeScript module with WORDS, on every Node.js that the
// project supports: older ones do not read TypeScript by themselves, and vitest, which the project has anyway, brings
// what does.
import { fileURLToPath } from 'node:url'
import { createViteServer } from 'vitest/node'

const [module, ...words] = process.argv.slice(2)
const server = await createViteServer({
  configFile: fileURLToPath(new URL('../vitest.config.ts', import.meta.url)),
  configLoader: 'runner',
  logLevel: 'error',
  appType: 'custom',
  server: { middlewareMode: true, watch: null, ws: false },
  optimizeDeps: { noDiscovery: true },
  oxc: { target: 'node20' },
})
try {
  const { main } = await server.ssrLoadModule(`/${module}`)
  await main(words)
} finally {
  await server.close()
}
