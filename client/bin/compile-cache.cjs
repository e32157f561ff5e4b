// Loaded before the program: from 22.1 on, Node.js keeps what it compiles between starts. It is told so here and not by a
// variable, because whatever the program starts would inherit that.
const { enableCompileCache } = require('node:module')

const { HOME, XDG_CACHE_HOME } = process.env
const caches = XDG_CACHE_HOME || (HOME && `${HOME}/.cache`)
if (caches) enableCompileCache?.(`${caches}/loopat/compile`)
