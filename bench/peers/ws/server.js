// The chat as it is usually built with Node: `ws` for sockets, Redis for what is said between servers, a list
// in Redis for what was said. It has no ids, no order, no answers, no history for who joins.
'use strict'

const http = require('node:http')
const { createClient } = require('redis')
const { WebSocketServer } = require('ws')

const port = Number(process.argv[process.argv.indexOf('--port') + 1])
const prefix = process.env.PEER_PREFIX
const rooms = new Map()

const main = async () => {
  // As its documentation asks: without a listener a lost connection ends the process. Redis cuts off a subscriber
  // that does not keep up, as in the step that is too much.
  const report = error => console.error(String(error))
  const connect = client => client.on('error', report).connect()
  const redis = await connect(createClient({ url: process.env.PEER_REDIS_URL }))
  const subscriber = await connect(redis.duplicate())

  // One buffer for all members: it is not encoded again for each.
  const deliver = (text, channel) => {
    const frame = Buffer.from(text)
    for (const member of rooms.get(channel)) member.send(frame, { binary: false })
  }

  const join = async (socket, room) => {
    const channel = `${prefix}ws:${room}`
    if (!rooms.has(channel)) {
      rooms.set(channel, new Set())
      await subscriber.subscribe(channel, deliver)
    }
    rooms.get(channel).add(socket)
    socket.on('close', () => rooms.get(channel).delete(socket))
    socket.send(JSON.stringify({ type: 'joined', id: 1, payload: { roomId: room, complete: true, top: 0, messages: [] } }))
  }

  const say = (user, { roomId, clientId, message }) => {
    const timestamp = new Date().toISOString()
    const payload = { roomId, timestamp, userId: user, username: user, clientId, message }
    const frame = JSON.stringify({ type: 'message', payload })
    // Both go to Redis in one write.
    redis.rPush(`${prefix}ws:log:${roomId}`, frame).catch(report)
    redis.publish(`${prefix}ws:${roomId}`, frame).catch(report)
  }

  const server = http.createServer((_, response) => response.end())
  const sockets = new WebSocketServer({ server, perMessageDeflate: false })
  sockets.on('connection', (socket, request) => {
    const user = new URL(request.url, 'http://localhost').searchParams.get('userId')
    socket.on('message', (text) => {
      const { type, payload } = JSON.parse(text)
      if (type === 'join') join(socket, payload.roomId)
      if (type === 'message') say(user, payload)
    })
  })
  server.listen(port, '127.0.0.1')
}

main()
