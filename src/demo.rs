//! The embedded demo origin: a small site with everything that makes a cache interesting.
//!
//! | path | what it is for |
//! |---|---|
//! | `/` | a page that names the script and the style by the hash of their content |
//! | `/assets/app.<hash>.js`, `/assets/style.<hash>.css` | can be kept for ever |
//! | `/logo.svg` | an image, for an hour, with a validator |
//! | `/slow` | takes two seconds to answer |
//! | `/now` | another answer each time, not to be stored |
//! | `/video.mp4` | 20 MiB, byte ranges |

use async_trait::async_trait;
use bytes::Bytes;
use pingora::Result;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const PAGE: &str = include_str!("demo/site/index.html");
const SCRIPT: &str = include_str!("demo/site/app.js");
const STYLE: &str = include_str!("demo/site/style.css");
const LOGO: &str = include_str!("demo/site/logo.svg");

const VIDEO_BYTES: u64 = 20 * 1024 * 1024;
const SLOW: Duration = Duration::from_secs(2);
/// The video is made of this many bytes at a time, so that it takes no memory.
const PIECE_BYTES: u64 = 64 * 1024;

/// The demo origin.
pub struct DemoOrigin {
    resources: Vec<Resource>,
}

struct Resource {
    path: String,
    content_type: &'static str,
    cache_control: &'static str,
    etag: Option<String>,
    content: Content,
}

enum Content {
    Text(String),
    Slow,
    Now,
    Video,
}

impl Default for DemoOrigin {
    fn default() -> Self {
        Self::new()
    }
}

impl DemoOrigin {
    /// The site, with the hashes of its assets in their names.
    pub fn new() -> Self {
        const FOR_EVER: &str = "public, max-age=31536000, immutable";
        let script = format!("/assets/app.{}.js", hash(SCRIPT));
        let style = format!("/assets/style.{}.css", hash(STYLE));
        let page = PAGE.replace("{script}", &script).replace("{style}", &style);
        let text = |path: &str, content_type, cache_control, content: &str| Resource {
            path: path.to_owned(),
            content_type,
            cache_control,
            etag: Some(format!("\"{}\"", hash(content))),
            content: Content::Text(content.to_owned()),
        };
        let made =
            |path: &str, content_type, cache_control, etag: Option<&str>, content| Resource {
                path: path.to_owned(),
                content_type,
                cache_control,
                etag: etag.map(str::to_owned),
                content,
            };
        const HTML: &str = "text/html; charset=utf-8";
        const PLAIN: &str = "text/plain; charset=utf-8";
        Self {
            resources: vec![
                text("/", HTML, "max-age=60, stale-while-revalidate=30", &page),
                text(&script, "text/javascript; charset=utf-8", FOR_EVER, SCRIPT),
                text(&style, "text/css; charset=utf-8", FOR_EVER, STYLE),
                text("/logo.svg", "image/svg+xml", "public, max-age=3600", LOGO),
                made("/slow", PLAIN, "max-age=30", None, Content::Slow),
                made("/now", PLAIN, "no-store", None, Content::Now),
                made(
                    "/video.mp4",
                    "video/mp4",
                    "public, max-age=86400",
                    Some("\"video-1\""),
                    Content::Video,
                ),
            ],
        }
    }

    /// Paths worth trying, for the first lines that a newcomer sees.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.resources.iter().map(|resource| resource.path.as_str())
    }

    async fn answer(&self, session: &mut ServerSession) -> Result<()> {
        let request = session.req_header();
        let method = request.method.clone();
        if !matches!(method, http::Method::GET | http::Method::HEAD) {
            let mut head = ResponseHeader::build(405, None)?;
            head.insert_header("Allow", "GET, HEAD")?;
            return send(session, head, Bytes::from_static(b"GET or HEAD, please\n")).await;
        }
        let path = request.uri.path();
        let Some(resource) = self.resources.iter().find(|resource| resource.path == path) else {
            let head = ResponseHeader::build(404, None)?;
            return send(session, head, Bytes::from_static(b"There is nothing here.\n")).await;
        };
        let field = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        let is_known = resource.etag.as_deref().is_some_and(|etag| {
            field("if-none-match").is_some_and(|known| known == "*" || known.contains(etag))
        });
        let range = field("range").and_then(|range| parse_range(range, VIDEO_BYTES));
        let head = |status| -> Result<ResponseHeader> {
            let mut head = ResponseHeader::build(status, None)?;
            head.insert_header("Content-Type", resource.content_type)?;
            head.insert_header("Cache-Control", resource.cache_control)?;
            if let Some(etag) = &resource.etag {
                head.insert_header("ETag", etag)?;
            }
            Ok(head)
        };
        if is_known {
            return session.write_response_header(Box::new(head(304)?)).await;
        }
        match &resource.content {
            Content::Text(text) => send(session, head(200)?, Bytes::from(text.clone())).await,
            Content::Slow => {
                tokio::time::sleep(SLOW).await;
                send(session, head(200)?, Bytes::from_static(b"That took two seconds.\n")).await
            }
            Content::Now => {
                let now = httpdate::fmt_http_date(SystemTime::now());
                send(session, head(200)?, Bytes::from(format!("It is {now}.\n"))).await
            }
            Content::Video if range.as_ref().is_some_and(Range::is_empty) => {
                let mut head = head(416)?;
                head.insert_header("Content-Range", format!("bytes */{VIDEO_BYTES}"))?;
                send(session, head, Bytes::new()).await
            }
            Content::Video => {
                let mut head = head(if range.is_some() { 206 } else { 200 })?;
                head.insert_header("Accept-Ranges", "bytes")?;
                if let Some(part) = &range {
                    let told = format!("bytes {}-{}/{VIDEO_BYTES}", part.start, part.end - 1);
                    head.insert_header("Content-Range", told)?;
                }
                let part = range.unwrap_or(0..VIDEO_BYTES);
                send_video(session, head, part, method == http::Method::HEAD).await
            }
        }
    }
}

#[async_trait]
impl HttpServerApp for DemoOrigin {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tracing::debug!(%error, "the demo origin could not read a request");
                session.respond_error(400).await.ok()?;
                return None;
            }
        }
        session.set_keepalive(if *shutdown.borrow() { None } else { Some(60) });
        if let Err(error) = self.answer(&mut session).await {
            tracing::debug!(%error, "the demo origin could not answer");
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let reused = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reused, settings))
    }
}

async fn send(session: &mut ServerSession, mut head: ResponseHeader, body: Bytes) -> Result<()> {
    head.insert_header("Content-Length", body.len())?;
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(body, true).await
}

async fn send_video(
    session: &mut ServerSession,
    mut head: ResponseHeader,
    part: Range<u64>,
    head_only: bool,
) -> Result<()> {
    head.insert_header("Content-Length", part.end - part.start)?;
    session.write_response_header(Box::new(head)).await?;
    let mut at = part.start;
    while at < part.end && !head_only {
        let end = part.end.min(at + PIECE_BYTES);
        session.write_response_body(video_bytes(at..end), end == part.end).await?;
        at = end;
    }
    Ok(())
}

/// Every eight bytes tell their own position, so that a byte in the wrong place shows.
fn video_bytes(part: Range<u64>) -> Bytes {
    part.map(|at| (at & !7).to_be_bytes()[(at & 7) as usize]).collect()
}

/// One `first-last`, `first-` or `-suffix`; empty if it cannot be satisfied. Everything else is
/// ignored, several ranges too.
fn parse_range(field: &str, total: u64) -> Option<Range<u64>> {
    let (first, last) = field.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last >= first => first..total.min(last.saturating_add(1)),
        (Ok(first), Err(_)) if last.is_empty() => first..total,
        (Err(_), Ok(suffix)) if first.is_empty() => total.saturating_sub(suffix)..total,
        _ => return None,
    };
    Some(if range.start < range.end { range } else { 0..0 })
}

fn hash(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:08x}", hasher.finish() & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_video_is_the_same_bytes_as_the_whole() {
        let whole = video_bytes(0..100_000);
        assert_eq!(video_bytes(65_533..65_551)[..], whole[65_533..65_551]);
    }

    #[test]
    fn ranges_that_can_be_satisfied_are_read() {
        assert_eq!(parse_range("bytes=0-0", 10), Some(0..1));
        assert_eq!(parse_range("bytes=5-", 10), Some(5..10));
        assert_eq!(parse_range("bytes=5-99", 10), Some(5..10));
        assert_eq!(parse_range("bytes=-3", 10), Some(7..10));
        assert_eq!(parse_range("bytes=10-", 10), Some(0..0));
        for ignored in ["bytes=5-4", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1"]
        {
            assert_eq!(parse_range(ignored, 10), None, "{ignored}");
        }
    }
}
