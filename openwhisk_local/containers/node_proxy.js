// The action proxy for JavaScript: serves OpenWhisk's POST /init and POST /run for one action, on
// the inherited end of a pair of sockets that --fd names.
//
// Argument: the action proxy for Python, which unpacks archives; node has nothing for that.
// Environment: DISDEL_PARENT_PID, the process with which this one ends; DISDEL_LOG_MARK, by which it
// marks where an activation's output begins and ends; DISDEL_PYTHON, which executes the
// other proxy.
'use strict'

const childProcess = require('child_process')
const fs = require('fs')
const http = require('http')
const net = require('net')
const path = require('path')

const NOT_A_DICTIONARY = 'The action did not return a dictionary or array.'
const unpacker = process.argv[2]
const parent = Number(process.env.DISDEL_PARENT_PID)
const mark = process.env.DISDEL_LOG_MARK
const python = process.env.DISDEL_PYTHON
delete process.env.DISDEL_PARENT_PID
delete process.env.DISDEL_LOG_MARK
delete process.env.DISDEL_PYTHON

let action = null

const failure = (status, error) => ({ status, body: { error } })

// Through the streams, behind all that waits in them. An action may put others in their place.
const streams = [process.stdout, process.stderr].map(stream => stream.write.bind(stream))
const marked = word => Promise.all(
  streams.map(write => new Promise(resolve => write(`${mark} ${word}\n`, resolve)))
)

const unpack = (code, folder) => {
  fs.writeFileSync('action.zip', Buffer.from(code, 'base64'))
  const unpacked = childProcess.spawnSync(python, [unpacker, '--unpack', 'action.zip', folder], {
    stdio: ['ignore', 'inherit', 'inherit']
  })
  fs.rmSync('action.zip')
  if (unpacked.status !== 0) {
    throw new Error('There was an error uncompressing the action archive.')
  }
}

const load = ({ code, main, binary }) => {
  const folder = fs.mkdtempSync(path.resolve('action-'))
  if (binary) {
    unpack(code, folder)
    process.chdir(folder)
    return require(folder)[main]
  }
  process.chdir(folder)
  const exports = {}
  // The entry is a name in the source, else one that it exports.
  const text = `${code}\nreturn typeof ${main} === 'undefined' ? exports.${main} : ${main}`
  return new Function('require', 'exports', 'module', text)(require, exports, { exports })
}

const init = async ({ value }) => {
  if (action) return failure(403, 'Cannot initialize the action more than once.')
  if (!value || !value.code) return failure(403, 'Missing main/no code to execute.')
  Object.assign(process.env, value.env)
  await marked('begins')
  try {
    const main = value.main || 'main'
    const loaded = load({ ...value, main })
    if (typeof loaded !== 'function') throw new Error(`Action entrypoint '${main}' is not a function.`)
    action = loaded
  } catch (error) {
    console.error(error)
    await marked('ends')
    return failure(502, `Initialization has failed due to: ${error}`)
  }
  return { status: 200, body: { ok: true } }
}

const described = error => {
  const { name, message, stack } = error
  return { ...error, name, message, stack }
}

const run = async ({ value, ...context }) => {
  if (!action) return failure(500, 'no action defined yet')
  for (const [name, text] of Object.entries(context)) {
    process.env[`__OW_${name.toUpperCase()}`] = text
  }
  await marked('begins')
  let result
  try {
    result = action(value || {})
  } catch (error) {
    // What is thrown at once is the developer's error; what a promise refuses is a result.
    console.error(error)
    await marked('ends')
    return failure(502, `An error has occurred: ${error}`)
  }
  try {
    result = await result
  } catch (error) {
    result = { error: error instanceof Error ? described(error) : error || {} }
  }
  await marked('ends')
  if (result === undefined) result = {}
  if (typeof result !== 'object' || result === null) return failure(502, NOT_A_DICTIONARY)
  return { status: 200, body: result }
}

const routes = { '/init': init, '/run': run }

const read = async request => {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const serve = async (request, response) => {
  const text = await read(request)
  const route = request.method === 'POST' && routes[request.url]
  const reply = route ? await route(JSON.parse(text)) : failure(404, 'Not found.')
  const body = Buffer.from(JSON.stringify(reply.body))
  response.writeHead(reply.status, {
    'Content-Type': 'application/json',
    'Content-Length': body.length
  })
  response.end(body)
}

process.on('SIGTERM', () => process.exit(143))
if (parent) {
  setInterval(() => process.ppid === parent || process.exit(1), 500).unref()
}
// Between two requests, and within one, it takes as long as it takes.
const server = http.createServer(
  { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 }, serve
)
const end = new net.Socket({ fd: Number(process.argv[process.argv.indexOf('--fd') + 1]) })
end.on('close', () => process.exit())
server.emit('connection', end)
