//! A collector of traces: what processes send by OTLP over HTTP.

use std::{
    io,
    sync::{Arc, Mutex},
};

use common::testing::eventually;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span as Raw,
};
use prost::Message;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A span that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// The kind of process that sent it.
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the first of a trace.
    pub(crate) parent: String,
    pub(crate) failed: bool,
    /// When it began and ended, ns.
    pub(crate) time: (u64, u64),
    /// All of its attributes, as text.
    pub(crate) attributes: String,
}

/// Takes spans until it is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    pub(crate) url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Listens on a port of its own.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let collector = Self {
            url: format!("http://{address}"),
            spans: Arc::default(),
        };
        let own = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move { own.take_all(stream).await });
            }
        });
        collector
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits for a span with this name below another one, or for the first of a trace if there is no other.
    pub(crate) async fn below(&self, parent: Option<&Span>, name: &str) -> Span {
        let id = parent.map_or("", |parent| &parent.id);
        let is_it = |span: &Span| span.name == name && span.parent == id;
        eventually(&format!("a span {name} below {parent:?}"), async || {
            self.spans().into_iter().find(is_it)
        })
        .await
    }

    async fn take_all(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut length, mut path) = (0, String::new());
            stream.read_line(&mut path).await?;
            if path.is_empty() {
                return Ok(());
            }
            assert!(path.starts_with("POST /v1/traces "), "{path}");
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                let line = line.trim().to_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(text) = line.strip_prefix("content-length:") {
                    length = text.trim().parse().expect("a length");
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let request = ExportTraceServiceRequest::decode(&*body).expect("OTLP");
            self.spans.lock().unwrap().extend(read(request));
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

fn read(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_one in request.resource_spans {
        let resource = of_one.resource.expect("who sends");
        let of_resource = format!("{:?}", resource.attributes);
        let services = ["rhubarb-server", "rhubarb-worker"];
        let service = services.iter().find(|name| of_resource.contains(**name));
        let service = (*service.expect("a service's name")).to_owned();
        assert!(of_resource.contains("service.instance.id"), "{of_resource}");
        let all = of_one.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(all.map(|raw| span(&service, &raw)));
    }
    spans
}

fn span(service: &str, raw: &Raw) -> Span {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    Span {
        service: service.to_owned(),
        name: raw.name.clone(),
        trace: hex(&raw.trace_id),
        id: hex(&raw.span_id),
        parent: hex(&raw.parent_span_id),
        failed: raw.status.as_ref().is_some_and(|status| status.code == 2),
        time: (raw.start_time_unix_nano, raw.end_time_unix_nano),
        attributes: format!("{:?}", raw.attributes),
    }
}
