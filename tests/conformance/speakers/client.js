// Speaks for the vendor's SDK for Node.js: reads lines "KEY ACTION JSON" and writes one line with the answer each.
const { cvm } = require('tencentcloud-sdk-nodejs-cvm')
const lines = require('readline').createInterface({ input: process.stdin })
const [endpoint, secretId] = process.argv.slice(2)

async function answer(line) {
  const [secretKey, action, params] = line.split('\t')
  const client = new cvm.v20170312.Client({
    credential: { secretId, secretKey },
    region: 'ap-guangzhou',
    profile: { httpProfile: { protocol: 'http://', endpoint } },
  })
  try {
    return { Answer: await client[action](JSON.parse(params)) }
  } catch (error) {
    return { Error: error.code || String(error) }
  }
}

async function main() {
  for await (const line of lines) console.log(JSON.stringify(await answer(line)))
}
main()
