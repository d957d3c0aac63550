// BullMQ's producer: `add`, or `addBulk` of 500.
'use strict'

const readline = require('node:readline')
const { Queue } = require('bullmq')
const { connect, now, QUEUE } = require('./common')

const BULK = 500
const PAD = '.'.repeat(60)
const OPTIONS = { removeOnComplete: true }

const queue = new Queue(QUEUE, { connection: connect() })
const job = (id) => ({ id, t: Math.floor(now()), pad: PAD })

const orders = {
  ready: () => queue.waitUntilReady(),
  async single(from, to) {
    for (let id = from; id < to; id++) await queue.add('noop', job(id), OPTIONS)
  },
  async bulk(from, to) {
    for (let first = from; first < to; first += BULK) {
      const jobs = []
      for (let id = first; id < Math.min(first + BULK, to); id++) {
        jobs.push({ name: 'noop', data: job(id), opts: OPTIONS })
      }
      await queue.addBulk(jobs)
    }
  },
  nap: (id, nap) => queue.add('noop', { ...job(id), nap }, OPTIONS),
}

async function obey() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [order, ...numbers] = line.split(' ')
    await orders[order](...numbers.map(Number))
    process.stdout.write('ok\n')
  }
  await queue.close()
  process.exit(0)
}

obey()
