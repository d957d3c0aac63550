//! A server process, and what a test asks it over HTTP.

use std::net::SocketAddr;

use common::testing::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use tokio::time::timeout;

use super::{
    Client, Events, Process, Stack, http,
    transcript::{Message, read_all},
};

/// A server process.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// Keeps the port from others for as long as the test runs: servers share ports, so that two tests
    /// with the same one would be mixed up without a word.
    _reservation: Socket,
}

impl Server {
    pub(super) async fn start(stack: &Stack) -> Self {
        let (reservation, port) = reserve_port();
        let mut server = Self {
            process: stack.server_process(port),
            port,
            _reservation: reservation,
        };
        server.serves().await;
        server
    }

    /// Starts another process on the same port, and waits until it serves.
    pub(crate) async fn beside(&self, stack: &Stack) -> Process {
        let mut process = stack.server_process(self.port);
        process.writes("the chat is at http://").await;
        process
    }

    /// Reads a room's events as `user`.
    pub(crate) async fn events(&self, user: &str, room: &str) -> Events {
        Events::open(self.port, user, room).await
    }

    /// What is told of a room.
    pub(crate) async fn room(&self, room: &str) -> serde_json::Value {
        let reply = self.get(&format!("/rooms/{room}")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()
    }

    /// Posts a message over HTTP, with headers if there are any.
    pub(crate) async fn say(
        &self,
        user: &str,
        room: &str,
        headers: &str,
        body: &str,
    ) -> http::Reply {
        let path = format!("/rooms/{room}/messages?userId={user}&username={user}");
        http::post_raw(self.port, &path, headers, body)
            .await
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Edits a message over HTTP.
    pub(crate) async fn edit(
        &self,
        user: &str,
        room: &str,
        message: i64,
        body: &serde_json::Value,
    ) -> http::Reply {
        let path = format!("/rooms/{room}/messages/{message}?userId={user}&username={user}");
        http::with_body(self.port, &format!("PATCH {path}"), "", &body.to_string())
            .await
            .unwrap_or_else(|error| panic!("PATCH {path}: {error}"))
    }

    /// Deletes a message over HTTP.
    pub(crate) async fn delete(
        &self,
        user: &str,
        room: &str,
        message: i64,
        client_id: &str,
    ) -> http::Reply {
        let path = format!(
            "/rooms/{room}/messages/{message}?userId={user}&username={user}&clientId={client_id}"
        );
        http::send(self.port, &format!("DELETE {path} HTTP/1.1\r\n"))
            .await
            .unwrap_or_else(|error| panic!("DELETE {path}: {error}"))
    }

    /// Connects somebody.
    pub(crate) async fn client(&self, user: &str) -> Client {
        Client::connect(self.port, user).await
    }

    /// `GET`s a path.
    pub(crate) async fn get(&self, path: &str) -> http::Reply {
        timeout(PATIENCE, http::get(self.port, path))
            .await
            .expect("an answer in time")
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// A page of a room's history, which is in order and without a hole, and whether there is more.
    pub(crate) async fn history(&self, room: &str, query: &str) -> (Vec<Message>, bool) {
        let path = format!("/rooms/{room}/messages?{query}");
        let reply = self.get(&path).await;
        assert_eq!(reply.status, 200, "GET {path}: {}", reply.body);
        let page = reply.json();
        (read_all(&page["messages"]), page["more"] == true)
    }

    /// Starts it anew, on the same port.
    pub(crate) async fn restart(&mut self, stack: &Stack) {
        self.process.kill();
        self.process = stack.server_process(self.port);
        self.serves().await;
    }

    /// Waits until it serves.
    async fn serves(&mut self) {
        eventually("the server serves", async || {
            let end = self.process.end();
            assert!(
                end.is_none(),
                "the server ended ({end:?}) instead of serving"
            );
            let reply = http::get(self.port, "/health/live").await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
    }

    /// Asks it to stop, as an operator does.
    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// What `/health/ready` tells.
    pub(crate) async fn health(&self) -> serde_json::Value {
        self.get("/health/ready").await.json()
    }
}

/// A free port, and the socket that keeps it: servers, which share ports, can listen on it all the same.
pub(crate) fn reserve_port() -> (Socket, u16) {
    let reserve = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let address = socket.local_addr()?.as_socket();
        Ok::<_, std::io::Error>((socket, address))
    };
    let (socket, address) = reserve().expect("a free port");
    (socket, address.expect("an address of IPv4").port())
}
