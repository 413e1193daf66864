//! Bodies split into lines, compared with a plain split.

use std::convert::Infallible;
use std::io::Write;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use producer_rest::{NdjsonLine, ndjson_lines};

/// The first byte says how long a line may be, the second seeds how the body is cut into chunks.
/// However it is cut, compressed or not, the lines are those of a plain split.
pub(crate) fn oracle(bytes: &[u8]) {
    let [max_line, seed, body @ ..] = bytes else { return };
    let max_line = usize::from(*max_line);
    let expected = expected(body, max_line);
    for (chunk, seed) in [(body.len().max(1), 0), (1, 0), (3, *seed), (16, seed.wrapping_mul(31))] {
        assert_eq!(lines(body, max_line, chunk, seed, &HeaderMap::new()), expected);
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed = gzip.write_all(body).and_then(|()| gzip.finish()).expect("into memory");
    let headers =
        HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    assert_eq!(lines(&compressed, max_line, 5, *seed, &headers), expected);
    // read as if it were compressed it may break off, but not panic
    lines(body, max_line, 7, *seed, &headers);
}

/// What is between two line feeds, without a CR before the second; blank lines are skipped.
fn expected(body: &[u8], max_line: usize) -> Vec<NdjsonLine> {
    let lines = body.split(|&byte| byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let is_blank = |line: &[u8]| line.iter().all(|byte| b" \t\r".contains(byte));
    lines
        .filter(|line| line.len() > max_line || !is_blank(line))
        .map(|line| match line {
            long if long.len() > max_line => NdjsonLine::TooLong,
            line => NdjsonLine::Text(Bytes::copy_from_slice(line)),
        })
        .collect()
}

/// Our lines of `body`, which comes in chunks of `1..=chunk` bytes.
fn lines(
    body: &[u8],
    max_line: usize,
    chunk: usize,
    seed: u8,
    headers: &HeaderMap,
) -> Vec<NdjsonLine> {
    let mut rest = body;
    let mut state = usize::from(seed);
    let chunks = std::iter::from_fn(|| {
        let length = if seed == 0 { chunk } else { 1 + state % chunk };
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) >> 3;
        let (next, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        (!next.is_empty()).then(|| Ok::<_, Infallible>(Bytes::copy_from_slice(next)))
    });
    let body = Body::from_stream(stream::iter(chunks.collect::<Vec<_>>()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(ndjson_lines(body, headers, max_line))
}
