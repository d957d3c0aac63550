//! A future that has begun before anybody awaits it: so what it sends goes out at once.

use std::future::{Future, ready};

use futures_util::{FutureExt, future::BoxFuture};

/// Polls a future once, and returns what is left of it.
pub(crate) fn begun<'a, T: Send + 'a>(
    future: impl Future<Output = T> + Send + 'a,
) -> BoxFuture<'a, T> {
    let mut future = future.boxed();
    match future.as_mut().now_or_never() {
        Some(ended) => ready(ended).boxed(),
        None => future,
    }
}
