//! Bodies of requests, read as far as they may go.

use bytes::{Buf, BufMut, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::error::ApiError;

/// Reads a body; none if it has more than `most` bytes.
pub(crate) async fn read<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    most: usize,
) -> Result<Option<BytesMut>, ApiError> {
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(part) = body.next().await {
        let part = part.map_err(|_| ApiError::BadRequest("the body was cut off".to_owned()))?;
        if bytes.len() + part.remaining() > most {
            return Ok(None);
        }
        bytes.put(part);
    }
    Ok(Some(bytes))
}
