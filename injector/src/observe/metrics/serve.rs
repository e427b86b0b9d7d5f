//! The metrics over HTTP.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::classic;

/// Those beyond wait until one of these has been served, or takes too long.
const CONNECTIONS_MAX: usize = 8;
/// How long a client may take from connecting to having read the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any scraper's request.
const REQUEST_MAX: usize = 16 * 1024;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers with what was published last, for ever.
pub async fn serve(listener: TcpListener, published: watch::Receiver<String>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let published = published.clone();
                tokio::spawn(async move {
                    // Who is too slow, or talks nonsense, is not worth a word.
                    let _ = timeout(PATIENCE, serve_one(stream, published)).await;
                    drop(slot);
                });
            }
            // No descriptors are left, perhaps only now.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve_one(stream: TcpStream, published: watch::Receiver<String>) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &published.borrow());
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(REQUEST_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer<B>(request: &Request<B>, open_metrics: &str) -> Response<Full<Bytes>> {
    let plain = |status, text: &str| respond(status, CLASSIC, text.to_owned());
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET alone\n");
    }
    let accepts = request.headers().get_all(ACCEPT).iter();
    let understands = accepts
        .filter_map(|accepted| accepted.to_str().ok())
        .any(|accepted| accepted.contains("application/openmetrics-text"));
    match understands {
        true => respond(StatusCode::OK, OPEN_METRICS, open_metrics.to_owned()),
        false => respond(StatusCode::OK, CLASSIC, classic(open_metrics)),
    }
}

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_understands_open_metrics_gets_it() {
        let get = |path: &str, accept: &str| {
            let request = Request::get(path).header(ACCEPT, accept).body(());
            let response = answer(&request.unwrap(), "# TYPE a counter\n# EOF\n");
            let kind = response.headers()[CONTENT_TYPE]
                .to_str()
                .unwrap()
                .to_owned();
            (response.status().as_u16(), kind)
        };
        let open = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        assert_eq!(get("/metrics", open), (200, OPEN_METRICS.to_owned()));
        assert_eq!(get("/metrics?x", "*/*"), (200, CLASSIC.to_owned()));
        assert_eq!(get("/", "*/*").0, 404);
        let post = Request::post("/metrics").body(()).unwrap();
        assert_eq!(answer(&post, "").status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
