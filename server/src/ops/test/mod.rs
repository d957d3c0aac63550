//! The dashboard, as its callers see it, on a real Redis.

mod calls;
mod door;
mod work;

use std::time::Duration;

use clap::Parser;
use common::{
    chat::{Chat, Settings},
    queue::{JobContext, JobId, Registry, Task, TaskError},
    shutdown::{Shutdown, Stop},
    testing::{RunningWorker, TestQueue, eventually},
};
use http::{Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use warp::{Filter as _, filters::BoxedFilter, hyper::body::Bytes};

use super::{Host, Ops, People, live};
use crate::{
    app::Connections,
    drain::Drain,
    error::render_rejection,
    limits::{self, Limits},
    routes,
};

const ADA: &str = "ada-0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef";

#[derive(Debug, Parser)]
struct Given {
    #[command(flatten)]
    limits: limits::Settings,
}

/// Fails for good.
#[derive(Debug, Serialize, Deserialize)]
struct Charge {
    card: String,
}

impl Task for Charge {
    const NAME: &'static str = "demo.charge";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Err(TaskError::fatal(format!("card {} was declined", self.card)))
    }
}

struct Desk {
    queue: TestQueue,
    ops: Ops,
    routes: BoxedFilter<(warp::reply::Response,)>,
    drain: Stop,
    _close: Stop,
}

fn serve(ops: Option<Ops>, limits: &Limits) -> BoxedFilter<(warp::reply::Response,)> {
    routes::ops(ops, limits)
        .recover(render_rejection)
        .map(warp::Reply::into_response)
        .boxed()
}

fn given_limits() -> Limits {
    Limits::new(Given::parse_from(["server"]).limits)
}

impl Desk {
    fn set() -> Self {
        let queue = TestQueue::start();
        let (redis, keys) = (queue.redis.clone(), queue.keys.clone());
        let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
        let chat = Chat::new(redis, keys, nowhere, 1, Settings::default()).unwrap();
        let (drain, shutdown) = Shutdown::manual();
        let (close, closing) = Shutdown::manual();
        let host = Host {
            limits: given_limits(),
            connections: Connections::new(),
            shutdown,
            drain: Drain::new(Duration::from_secs(1)),
            closing,
        };
        let people = [format!("ada={ADA}"), format!("bob={BOB}")];
        let people = People::new(&people).unwrap().unwrap();
        let limits = host.limits.clone();
        let ops = Ops::new(people, &chat, host);
        Self {
            routes: serve(Some(ops.clone()), &limits),
            queue,
            ops,
            drain,
            _close: close,
        }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Bytes> {
        let mut request = warp::test::request().method(method).path(path).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.reply(&self.routes).await
    }

    /// As a program does.
    async fn get(&self, path: &str) -> Value {
        let bearer = format!("Bearer {ADA}");
        let path = format!("/ops/api/{path}");
        let response = self
            .ask("GET", &path, &[("authorization", &bearer)], "")
            .await;
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{path}: {:?}",
            response.body()
        );
        json_of(&response)
    }

    /// How such a question is refused.
    async fn wrong(&self, path: &str) -> StatusCode {
        let bearer = format!("Bearer {ADA}");
        let path = format!("/ops/api/{path}");
        let headers = [("authorization", &*bearer)];
        self.ask("GET", &path, &headers, "").await.status()
    }

    /// As a program does.
    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let bearer = format!("Bearer {ADA}");
        let path = format!("/ops/api/{path}");
        let headers = [("authorization", &*bearer)];
        let response = self.ask("POST", &path, &headers, &body.to_string()).await;
        (response.status(), json_of(&response))
    }

    /// Signs in as a browser does; returns what it sends back from then on.
    async fn sign_in(&self, token: &str) -> String {
        let body = json!({ "token": token }).to_string();
        let response = self.ask("POST", "/ops/api/session", &[], &body).await;
        assert_eq!(response.status(), StatusCode::OK);
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    fn worker(&self) -> RunningWorker {
        let registry = Registry::new().with::<Charge>(&().into());
        self.queue.worker(registry, TestQueue::options("default=4"))
    }

    /// So many dead jobs.
    async fn dead(&self, count: usize) -> Vec<JobId> {
        let worker = self.worker();
        let mut ids = Vec::new();
        for n in 0..count {
            let job = Charge {
                card: n.to_string(),
            };
            ids.push(self.queue.producer().enqueue(&job).await.unwrap());
        }
        let key = self.queue.keys.dead();
        eventually("all are dead", async || {
            let dead: usize = self.queue.command(&["ZCARD", &key]).await;
            (dead >= count).then_some(())
        })
        .await;
        worker.stop().await;
        ids
    }

    async fn is_acted(&self, by: &str, did: &str, of: &str) {
        let told = self.get("actions").await;
        let is_so = |one: &Value| one["by"] == by && one["did"] == did && one["of"] == of;
        let all = told["actions"].as_array().unwrap();
        assert!(all.iter().any(is_so), "{by} {did} {of}: {all:?}");
    }
}

fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or(Value::Null)
}
