//! Messages out of a byte stream (RFC 3261 §18.3): the blank line, then Content-Length bytes. Deliberately not
//! the node's framer.

/// The length of the first whole message in `bytes`, keep-alive line ends included; `None` if more must come.
pub(crate) fn first_message(bytes: &[u8]) -> Option<usize> {
    let skipped = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let rest = bytes.get(skipped..).filter(|rest| !rest.is_empty())?;
    let head = rest.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let body = rest.get(..head).map_or(0, content_length);
    let length = skipped + head + body;
    (bytes.len() >= length).then_some(length)
}

fn content_length(head: &[u8]) -> usize {
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l") {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            return std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_content_length_says() {
        let message = b"\r\n\r\nSIP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabcNEXT";
        assert_eq!(first_message(message), Some(message.len() - 4));
        assert_eq!(first_message(&message[..message.len() - 5]), None);
        assert_eq!(first_message(b"\r\n\r\n"), None);
        let short = b"BYE sip:a SIP/2.0\r\nl : 0\r\n\r\nX";
        assert_eq!(first_message(short), Some(short.len() - 1));
    }
}
