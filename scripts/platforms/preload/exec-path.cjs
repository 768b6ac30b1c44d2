// Programs that tests start as `process.execPath` run on the Node.js under test.
const { delimiter } = require('node:path')

process.execPath = process.env.PLATFORM_NODES.split(delimiter)[0]
