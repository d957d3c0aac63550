//! The commands that each kind of process sends, itself and from its scripts: what its Redis user must be allowed,
//! and no more. `docs/deploy.md` has them as `ACL SETUSER` lines; tests hold both against the sources and against a
//! Redis with exactly these users.

use crate::config::Process;

/// A command and an example of what follows it; `K` stands for a key.
#[derive(Debug, Clone, Copy)]
pub struct Right {
    name: &'static str,
    example: &'static str,
}

const fn right(name: &'static str, example: &'static str) -> Right {
    Right { name, example }
}

impl Right {
    /// As `ACL SETUSER` has it, without the plus: `hget`, `client|id`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The words of a call that is well-formed.
    pub(super) fn example<'a>(&self, key: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let words = self
            .name
            .split('|')
            .chain(self.example.split(' ').filter(|word| !word.is_empty()));
        words.map(move |word| if word == "K" { key } else { word })
    }

    /// Whether Redis puts it into a transaction.
    pub(super) fn can_be_queued(&self) -> bool {
        !["multi", "exec", "discard", "subscribe", "unsubscribe"].contains(&self.name)
    }
}

/// What all of them send: the scripts share most.
const SHARED: [Right; 69] = [
    right("append", "K 1"),
    right("del", "K"),
    right("discard", ""),
    right("evalsha", "0 0"),
    right("exec", ""),
    right("exists", "K"),
    right("get", "K"),
    right("hdel", "K f"),
    right("hexists", "K f"),
    right("hget", "K f"),
    right("hgetall", "K"),
    right("hincrby", "K f 1"),
    right("hkeys", "K"),
    right("hlen", "K"),
    right("hmget", "K f"),
    right("hset", "K f 1"),
    right("hsetnx", "K f 1"),
    right("hvals", "K"),
    right("incrby", "K 1"),
    right("info", ""),
    right("lindex", "K 0"),
    right("llen", "K"),
    right("lpush", "K 1"),
    right("lrange", "K 0 1"),
    right("lrem", "K 1 1"),
    right("ltrim", "K 0 1"),
    right("multi", ""),
    right("persist", "K"),
    right("pexpire", "K 1"),
    right("pexpireat", "K 1"),
    right("ping", ""),
    right("pttl", "K"),
    right("publish", "K 1"),
    right("rpop", "K"),
    right("rpush", "K 1"),
    right("sadd", "K 1"),
    right("scard", "K"),
    right("script|load", "return"),
    right("select", "0"),
    right("set", "K 1"),
    right("sismember", "K 1"),
    right("smembers", "K"),
    right("spop", "K"),
    right("srandmember", "K"),
    right("srem", "K 1"),
    right("subscribe", "K"),
    right("time", ""),
    right("unsubscribe", "K"),
    right("xadd", "K * f v"),
    right("xdel", "K 1-1"),
    right("xrange", "K - +"),
    right("xrevrange", "K + -"),
    right("xsetid", "K 1-1"),
    right("zadd", "K 1 m"),
    right("zcard", "K"),
    right("zcount", "K 0 1"),
    right("zmscore", "K m"),
    right("zpopmin", "K"),
    right("zrandmember", "K"),
    right("zrange", "K 0 1"),
    right("zrangebyscore", "K 0 1"),
    right("zrank", "K m"),
    right("zrem", "K m"),
    right("zremrangebyscore", "K 0 1"),
    right("zrevrange", "K 0 1"),
    right("zrevrangebyscore", "K 1 0"),
    right("zscore", "K m"),
    right("hscan", "K 0"),
    right("sscan", "K 0"),
];

/// What only a server sends, and queuectl: the list of all rooms on the dashboard.
const SERVER: [Right; 1] = [right("scan", "0")];

/// What only a worker sends: the blocking pop, and what cuts it short.
const WORKER: [Right; 3] = [
    right("brpop", "K 1"),
    right("client|id", ""),
    right("client|unblock", "1"),
];

/// What only an audit and a reflush send: they walk over all names.
const QUEUECTL: [Right; 3] = [
    right("dbsize", ""),
    right("scan", "0"),
    right("zscan", "K 0"),
];

/// What a kind of process sends.
pub fn of(process: Process) -> impl Iterator<Item = Right> {
    let own: &[Right] = match process {
        Process::Server => &SERVER,
        Process::Worker => &WORKER,
        Process::Queuectl => &QUEUECTL,
    };
    SHARED.into_iter().chain(own.iter().copied())
}

/// The user of a kind of process: the words of an `ACL SETUSER`, without the password.
pub fn user(process: Process, namespace: &str) -> String {
    let mut names: Vec<_> = of(process)
        .map(|right| format!("+{}", right.name))
        .collect();
    names.sort_unstable();
    format!(
        "ACL SETUSER rhubarb-{process} reset on ~{{{namespace}}}:* &{{{namespace}}}:* {}",
        names.join(" ")
    )
}
