//! Makes the response to a request. Everything here blocks, so it runs in the thread pool.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use ropewalk::{Error, Failure, ThreadHandle};

use super::body::{self, Content};
use super::condition::{Verdict, Version};
use super::head::{self, BadHead};
use super::media_type;
use super::range::{self, Wanted};
use super::redirect::HttpsPort;
use super::request_path::{BadPath, RequestPath};
use super::root::{Metadata, is_link_loop};
use super::site::{Found, Site};
use crate::commands::WARNINGS_APART;

pub(super) type Answer = Response<Content>;

/// Forbids scripts and loading of anything, even if a file name in the listing contains markup.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// The number of seconds after which a client may try again.
const SOON: HeaderValue = HeaderValue::from_static("1");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Returns the response to a request, with the first piece of its file.
pub(super) fn answer(site: &Site, request: &Parts, reactor: &ThreadHandle) -> Answer {
    let mut answer = find(site, request, reactor).unwrap_or_else(Refusal::into_answer);
    if request.method == Method::HEAD && answer.status() != StatusCode::NOT_MODIFIED {
        if let Some(length) = answer.body().length() {
            set(&mut answer, header::CONTENT_LENGTH, &length.to_string());
        }
        *answer.body_mut() = Content::EMPTY;
    }
    answer
}

/// Returns the response to a request whose thread panicked, or for which no thread could be started.
pub(super) fn without_thread(failure: &Failure) -> Answer {
    match failure.downcast_ref() {
        Some(Error::Panicked(..)) => Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the server failed").into_answer(),
        _ => Refusal(StatusCode::SERVICE_UNAVAILABLE, "the server has no free thread").into_answer(),
    }
}

/// Returns the response that leads to HTTPS. The client repeats its request there, with the same method and body.
pub(super) fn redirected(request: &Parts, port: &HttpsPort) -> Answer {
    let no_host = || Refusal(StatusCode::BAD_REQUEST, "the request names no host");
    let location =
        head::check(request).map_err(Refusal::from).and_then(|()| port.location(request).ok_or_else(no_host));
    match location {
        Ok(location) => moved(StatusCode::PERMANENT_REDIRECT, &location),
        Err(refusal) => refusal.into_answer(),
    }
}

/// The status of a refused request, and a reason for the client.
struct Refusal(StatusCode, &'static str);

impl From<BadPath> for Refusal {
    fn from(bad: BadPath) -> Refusal {
        match bad {
            BadPath::Malformed => Refusal(StatusCode::BAD_REQUEST, "the path is malformed"),
            BadPath::Upwards => Refusal(StatusCode::FORBIDDEN, "the path contains '..'"),
            BadPath::NoSuchName => Refusal(StatusCode::NOT_FOUND, "no such file"),
        }
    }
}

impl From<BadHead> for Refusal {
    fn from(bad: BadHead) -> Refusal {
        match bad {
            BadHead::Malformed(why) => Refusal(StatusCode::BAD_REQUEST, why),
            BadHead::UnknownCoding => {
                Refusal(StatusCode::NOT_IMPLEMENTED, "expected no transfer coding but a single 'chunked'")
            }
        }
    }
}

impl Refusal {
    /// Translates an error of the file system.
    fn from_io(path: &str, error: &io::Error, reactor: &ThreadHandle) -> Refusal {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Refusal(StatusCode::NOT_FOUND, "no such file"),
            io::ErrorKind::PermissionDenied => Refusal(StatusCode::FORBIDDEN, "permission denied"),
            _ if is_link_loop(error) => {
                warn(reactor, "too many levels of symbolic links", path, error);
                Refusal(StatusCode::FORBIDDEN, "too many levels of symbolic links")
            }
            _ => {
                warn(reactor, "cannot read the requested file", path, error);
                Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read")
            }
        }
    }

    fn into_answer(self) -> Answer {
        let Refusal(status, why) = self;
        let mut answer = text(status, format!("{status}: {why}\n"));
        let fields = answer.headers_mut();
        match status {
            StatusCode::METHOD_NOT_ALLOWED => drop(fields.insert(header::ALLOW, ALLOWED)),
            // After a refused head or an unknown coding, the end of the request is unknown.
            StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED => drop(fields.insert(header::CONNECTION, CLOSE)),
            StatusCode::SERVICE_UNAVAILABLE => drop(fields.insert(header::RETRY_AFTER, SOON)),
            _ => {}
        }
        answer
    }
}

/// Logs a failure, and not each failure of a flood of requests.
fn warn(reactor: &ThreadHandle, line: &'static str, path: &str, error: &io::Error) {
    let (path, error) = (path.to_owned(), error.to_string());
    reactor.call_from_thread(move |reactor| {
        reactor.limit_log(WARNINGS_APART, line, |suppressed| tracing::warn!(path, error, suppressed, "{line}"));
    });
}

fn find(site: &Site, request: &Parts, reactor: &ThreadHandle) -> Result<Answer, Refusal> {
    head::check(request)?;
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "expected GET or HEAD"));
    }
    let path = RequestPath::parse(request.uri.path())?;
    let refused = |error: io::Error| Refusal::from_io(request.uri.path(), &error, reactor);
    match site.find(&path).map_err(refused)? {
        Found::File(file, metadata, name) => send_file(site, request, file, metadata, &name).map_err(refused),
        Found::Directory(metadata, directory) => {
            let too_many = Refusal(StatusCode::SERVICE_UNAVAILABLE, "too many listings are being sent");
            let rows = site.listing(&metadata, &directory).map_err(refused)?.ok_or(too_many)?;
            let mut answer = Response::new(Content::Ready(rows.page(&path)));
            answer.headers_mut().insert(header::CONTENT_TYPE, HTML);
            answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
            Ok(answer)
        }
        Found::DirectoryWithoutSlash => Ok(redirect(&path, request.uri.query())),
    }
}

fn send_file(site: &Site, request: &Parts, mut file: File, metadata: Metadata, name: &Path) -> io::Result<Answer> {
    let length = body::length_of(&mut file, &metadata)?;
    // The metadata does not show when a file that the kernel generates changes.
    let has_version = metadata.is_stored || length == Some(0);
    let version = if has_version { Version::new(&metadata, SystemTime::now()) } else { Version::default() };
    let mut answer = match version.evaluate(&request.headers) {
        Verdict::Send => send_wanted(site, request, file, length, name, &version)?,
        Verdict::NotModified => not_modified(),
        Verdict::Failed => return Ok(Refusal(StatusCode::PRECONDITION_FAILED, "the file has changed").into_answer()),
    };
    if let Some(tag) = &version.tag {
        set(&mut answer, header::ETAG, tag);
    }
    if let Some(modified) = version.modified {
        set(&mut answer, header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    }
    Ok(answer)
}

fn send_wanted(
    site: &Site,
    request: &Parts,
    file: File,
    length: Option<u64>,
    name: &Path,
    version: &Version,
) -> io::Result<Answer> {
    let Some(length) = length else {
        return with_media_type(file, name, |file| Content::until_the_end(file, site.pieces()));
    };
    let mut answer = match wanted_part(request, length, version) {
        Wanted::Whole => with_media_type(file, name, |file| Content::of(file, 0..length, site.pieces()))?,
        Wanted::Part(part) => {
            let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            let mut answer = with_media_type(file, name, |file| Content::of(file, part, site.pieces()))?;
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut answer, header::CONTENT_RANGE, &range);
            answer
        }
        Wanted::Nothing => {
            let refusal = Refusal(StatusCode::RANGE_NOT_SATISFIABLE, "the range starts beyond the end of the file");
            let mut answer = refusal.into_answer();
            set(&mut answer, header::CONTENT_RANGE, &format!("bytes */{length}"));
            return Ok(answer);
        }
    };
    answer.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(answer)
}

/// Ranges apply to GET only: RFC 9110, section 14.2.
fn wanted_part(request: &Parts, length: u64, version: &Version) -> Wanted {
    let range = request.headers.get(header::RANGE).and_then(|field| field.to_str().ok());
    match range {
        Some(range) if request.method == Method::GET && version.continues(&request.headers) => {
            range::wanted(range, length)
        }
        _ => Wanted::Whole,
    }
}

fn with_media_type(
    mut file: File,
    name: &Path,
    content: impl FnOnce(File) -> io::Result<Content>,
) -> io::Result<Answer> {
    let media_type = match media_type::by_name(name) {
        Some(media_type) => media_type,
        None => media_type::by_content(&mut file)?,
    };
    let mut answer = Response::new(content(file)?);
    set(&mut answer, header::CONTENT_TYPE, &media_type);
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(answer)
}

fn not_modified() -> Answer {
    let mut answer = Response::new(Content::EMPTY);
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    answer
}

fn redirect(path: &RequestPath, query: Option<&str>) -> Answer {
    let mut location = path.directory_url();
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    moved(StatusCode::MOVED_PERMANENTLY, &location)
}

fn moved(status: StatusCode, location: &str) -> Answer {
    let mut answer = text(status, format!("moved to {location}\n"));
    set(&mut answer, header::LOCATION, location);
    answer
}

fn text(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Content::Ready(vec![text.into()]));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    answer
}

fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    // A query may contain characters that are invalid in a header field. In this case the field is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
