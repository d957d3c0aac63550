//! A Lua script as a value: shared head, own body, one way to run it.

use std::fmt;

use redis::{Cmd, ErrorKind, FromRedisValue, ServerErrorKind, ToRedisArgs};

use super::{KvError, Redis};

/// Arguments that a call has room for before it grows.
const ARGS: usize = 16;
/// The same, in bytes.
const BYTES: usize = 512;

/// A script that Redis runs as one step. Made once, in a `static`.
pub struct Script {
    doing: &'static str,
    text: redis::Script,
    repeatable: bool,
}

impl Script {
    /// Joins the parts. `doing` names the step in errors, e.g. `push jobs`.
    pub fn new(doing: &'static str, parts: &[&str]) -> Self {
        Self {
            doing,
            text: redis::Script::new(&parts.join("\n")),
            repeatable: false,
        }
    }

    /// A second run has the same effect as one: where the connection is lost, so that nobody knows whether
    /// it ran, it is run once more. So the first call after a restart of Redis, which finds the old
    /// connection dead, does not fail.
    #[must_use]
    pub fn repeatable(self) -> Self {
        Self {
            repeatable: true,
            ..self
        }
    }

    /// A script that must go on when Redis's memory is full: those that settle and recover, and so
    /// make room. Scripts that take new work in are refused then.
    pub fn even_if_full(doing: &'static str, parts: &[&str]) -> Self {
        Self::new(doing, &[&["#!lua flags=allow-oom"], parts].concat())
    }

    /// A call of it on the keys under `namespace` (for KEYS 1).
    pub fn on(&self, namespace: &str) -> Call<'_> {
        let mut command = Cmd::with_capacity(ARGS, BYTES);
        command.arg("EVALSHA").arg(self.text.get_hash());
        command.arg(1).arg(namespace);
        Call {
            script: self,
            command,
        }
    }
}

/// What a script is called with, in one buffer: [`redis::ScriptInvocation`] keeps each argument in one of its own, and a
/// busy worker's turn has hundreds.
pub struct Call<'a> {
    script: &'a Script,
    command: Cmd,
}

impl fmt::Debug for Call<'_> {
    /// Without the arguments, which may be what people wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("doing", &self.script.doing)
            .finish_non_exhaustive()
    }
}

impl Call<'_> {
    /// Adds what ARGV has next.
    pub fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// Has Redis run it.
    ///
    /// # Errors
    /// If Redis cannot be reached, does not answer in time or refuses.
    pub async fn run<T: FromRedisValue>(&self, redis: &Redis) -> Result<T, KvError> {
        match self.run_once(redis).await {
            Err(error) if self.script.repeatable && error.is_lost_connection() => {
                self.run_once(redis).await
            }
            done => done,
        }
    }

    async fn run_once<T: FromRedisValue>(&self, redis: &Redis) -> Result<T, KvError> {
        let mut connection = redis.connection().await?;
        let answer = match self.command.query_async(&mut connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                match self.script.text.load_async(&mut connection).await {
                    Ok(_) => self.command.query_async(&mut connection).await,
                    Err(error) => Err(error),
                }
            }
            answer => answer,
        };
        answer.map_err(|source| redis.failed(self.script.doing, source))
    }
}
