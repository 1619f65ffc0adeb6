//! Bytes of requests on their way into a line: none of them can end it, or the text that it stands
//! in, or mean anything to the terminal of whoever reads it.

use std::io::Write;

/// As the inside of a JSON text. Bytes that are no UTF-8 become U+FFFD.
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    if are_harmless(bytes) {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        let mut plain_from = 0;
        for (at, character) in text.char_indices() {
            let escaped = match character {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                // The last two end a line for some.
                _ if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') => "",
                _ => continue,
            };
            out.extend_from_slice(&text.as_bytes()[plain_from..at]);
            plain_from = at + character.len_utf8();
            if escaped.is_empty() {
                // Nothing that is written into memory fails.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            } else {
                out.extend_from_slice(escaped.as_bytes());
            }
        }
        out.extend_from_slice(&text.as_bytes()[plain_from..]);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// As other servers write it: `\xHH` for quotes, backslashes and whatever is not printable ASCII.
pub(super) fn plain(out: &mut Vec<u8>, bytes: &[u8]) {
    if are_harmless(bytes) {
        return out.extend_from_slice(bytes);
    }
    for &byte in bytes {
        if is_harmless(byte) {
            out.push(byte);
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

/// Whether nothing has to be escaped, as in nearly everything that comes.
fn are_harmless(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |are_harmless, byte| are_harmless & is_harmless(*byte))
}

fn is_harmless(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: fn(&mut Vec<u8>, &[u8]), bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write(&mut out, bytes);
        String::from_utf8(out).expect("text")
    }

    /// Bytes as they could come, and those that are trouble more often than chance has them.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let trouble =
            proptest::sample::select(&b"\"\\\n\r\t\x00\x1b\x7f\xff\xc2\x85\xe2\x80\xa8{}"[..]);
        proptest::collection::vec(prop_oneof![any::<u8>(), trouble], 0..64)
    }

    proptest! {
        #[test]
        fn json_means_what_was_sent_and_has_no_control_character(bytes in bytes()) {
            let inside = written(json, &bytes);
            let is_trouble = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            prop_assert!(!inside.contains(is_trouble));
            let read: String = serde_json::from_str(&format!("\"{inside}\"")).expect("JSON");
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn ordinary_text_is_written_as_others_write_it(text in "[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u{2028}\\u{2029}]{0,64}") {
            let other = serde_json::to_string(&text).expect("JSON");
            prop_assert_eq!(format!("\"{}\"", written(json, text.as_bytes())), other);
        }

        #[test]
        fn plain_bytes_end_neither_a_line_nor_a_quoted_text_and_can_be_read_back(bytes in bytes()) {
            let text = written(plain, &bytes);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"'));
            let mut back = Vec::new();
            let mut rest = text.as_bytes();
            while let Some((&first, after)) = rest.split_first() {
                if first == b'\\' {
                    let digits = std::str::from_utf8(&rest[2..4]).expect("digits");
                    back.push(u8::from_str_radix(digits, 16).expect("digits"));
                    rest = &rest[4..];
                } else {
                    back.push(first);
                    rest = after;
                }
            }
            prop_assert_eq!(back, bytes);
        }
    }
}
