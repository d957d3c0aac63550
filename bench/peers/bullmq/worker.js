// BullMQ's worker: one process, 200 jobs at once.
'use strict'

const fs = require('node:fs')
const { setTimeout: sleep } = require('node:timers/promises')
const { Worker } = require('bullmq')
const { connect, now, QUEUE } = require('./common')

const ledger = fs.openSync(process.env.PEER_LEDGER, 'a')
const record = new Float64Array(3)

const run = async ({ data }) => {
  record[0] = data.id
  record[1] = data.t
  record[2] = now()
  fs.writeSync(ledger, record)
  if (data.nap) await sleep(data.nap * 1000)
}

const worker = new Worker(QUEUE, run, { connection: connect(), concurrency: 200 })
worker.on('error', (error) => console.error(error))
process.on('SIGTERM', () => worker.close().then(() => process.exit(0)))
