// Calls Apache's OpenWhisk client: one JSON request a line on standard input, one reply a line.
// A request is [resource, method, options]; {"$base64": text} in the options becomes a Buffer.
'use strict'

const readline = require('readline')
const openwhisk = require(process.env.OPENWHISK_CLIENT)

const client = openwhisk({ apihost: process.env.TEST_APIHOST, api_key: process.env.TEST_KEY })

const revive = (_, value) =>
  value && value.$base64 ? Buffer.from(value.$base64, 'base64') : value

const call = async line => {
  const [resource, method, options] = JSON.parse(line, revive)
  try {
    return { result: await client[resource][method](options) }
  } catch (error) {
    return { error: { message: error.message, status: error.statusCode, body: error.error } }
  }
}

const answer = async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await call(line)))
  }
}

answer()
