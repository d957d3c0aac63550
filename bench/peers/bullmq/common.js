// What both programs share.
'use strict'

const { Redis } = require('ioredis')

exports.QUEUE = 'peers'

// As BullMQ asks for it: a command waits for a lost connection to come back.
exports.connect = () => new Redis(process.env.PEER_REDIS_URL, { maxRetriesPerRequest: null })

/** Microseconds of the machine's monotonic clock. */
exports.now = () => Number(process.hrtime.bigint()) / 1000
