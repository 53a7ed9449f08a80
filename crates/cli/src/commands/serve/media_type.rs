//! Media types of files.

use std::borrow::Cow;
use std::io::{self, Read, Seek};
use std::path::Path;

/// Bytes at the start of a file that decide whether it is a text.
const BEGINNING_BYTES: u64 = 512;

/// Returns the media type for a file name, if its extension is known.
pub(super) fn by_name(name: &Path) -> Option<Cow<'static, str>> {
    let known = mime_guess::from_path(name).first_raw()?;
    Some(if is_text(known) { format!("{known}; charset=utf-8").into() } else { known.into() })
}

/// Returns the media type of a file with an unknown extension: text, if its first bytes look like text.
pub(super) fn by_content(file: &mut (impl Read + Seek)) -> io::Result<Cow<'static, str>> {
    let mut beginning = Vec::new();
    file.by_ref().take(BEGINNING_BYTES).read_to_end(&mut beginning)?;
    file.rewind()?;
    let text = looks_like_text(&beginning);
    Ok(if text { "text/plain; charset=utf-8" } else { "application/octet-stream" }.into())
}

fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || matches!(media_type, "application/javascript" | "application/json")
}

fn looks_like_text(beginning: &[u8]) -> bool {
    let text = match std::str::from_utf8(beginning) {
        Ok(text) => text,
        // The last character may be cut in two.
        Err(error) if error.error_len().is_none() => match std::str::from_utf8(&beginning[..error.valid_up_to()]) {
            Ok(text) => text,
            Err(_) => return false,
        },
        Err(_) => return false,
    };
    text.chars().all(|character| !character.is_control() || matches!(character, '\n' | '\r' | '\t' | '\x0c'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_name(name: &str) -> Option<String> {
        super::by_name(Path::new(name)).map(Cow::into_owned)
    }

    fn by_content(content: &[u8]) -> String {
        super::by_content(&mut io::Cursor::new(content)).unwrap().into_owned()
    }

    #[test]
    fn the_extension_decides_the_media_type() {
        let cases = [
            ("a.html", "text/html; charset=utf-8"),
            ("A.CSS", "text/css; charset=utf-8"),
            ("a.png", "image/png"),
            ("a.json", "application/json; charset=utf-8"),
            ("a.wasm", "application/wasm"),
        ];
        for (name, media_type) in cases {
            assert_eq!(by_name(name).as_deref(), Some(media_type), "{name}");
        }
        assert_eq!(by_name("LICENSE"), None);
    }

    #[test]
    fn unknown_files_are_text_if_they_look_like_text() {
        let cut_in_a_character = format!("a{}", "é".repeat(300));
        for text in [b"Permission is\n", cut_in_a_character.as_bytes(), b""] {
            assert_eq!(by_content(text), "text/plain; charset=utf-8");
        }
        for other in [&b"\x7fELF\0"[..], b"caf\xe9 au lait", b"\x1b[2J"] {
            assert_eq!(by_content(other), "application/octet-stream");
        }
    }
}
