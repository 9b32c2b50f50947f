//! Which bytes may stand where: tokens, field values, targets and hosts, as tables and small checks.

use std::net::Ipv6Addr;

/// Bytes of a method or field name (RFC 9110, 5.6.2).
pub(super) const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~", true);

/// Bytes of a path and query (RFC 3986), `%` included; its digits are checked apart.
const TARGET: [bool; 256] = table(b"-._~!$&'()*+,;=:@/?%", true);

/// Bytes of a host name. The grammar allows a comma; it is left out, as some read it as a list of hosts.
const HOST: [bool; 256] = table(b"-._~!$&'()*+;=%", true);

const HEX: [bool; 256] = table(b"", false);

const fn table(extra: &[u8], all_letters: bool) -> [bool; 256] {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        allowed[byte as usize] =
            if all_letters { byte.is_ascii_alphanumeric() } else { byte.is_ascii_hexdigit() };
        byte += 1;
    }
    let mut i = 0;
    while i < extra.len() {
        allowed[extra[i] as usize] = true;
        i += 1;
    }
    allowed
}

/// Whether `value` has only tabs, spaces, visible characters and bytes over 127.
pub(super) fn is_field_value(value: &[u8]) -> bool {
    // Eight bytes at a time: this loop sees most bytes of every head. A word with a tab is looked at byte by byte.
    let (words, rest) = value.as_chunks::<8>();
    words.iter().all(|&word| !may_have_control(word) || word.into_iter().all(is_field_byte))
        && rest.iter().all(|&byte| is_field_byte(byte))
}

/// Whether some byte is under 32 or is 127.
fn may_have_control(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // A byte under n borrows from its high bit when n is taken off, unless that bit was set before (a byte over 127). A
    // borrow can reach a neighbour only from such a byte, so there are no false alarms without a true one.
    let word = u64::from_ne_bytes(word);
    let under_32 = word.wrapping_sub(ONES * 32) & !word;
    let from_127 = word ^ (ONES * 127);
    let is_127 = from_127.wrapping_sub(ONES) & !from_127;
    (under_32 | is_127) & HIGHS != 0
}

/// Whether a field's value may have this byte.
pub(super) fn is_field_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Whether `target` is a path with an optional query, well escaped. The caller has seen the leading slash.
pub(super) fn is_path_and_query(target: &[u8]) -> bool {
    target.iter().fold(true, |good, &byte| good & TARGET[byte as usize]) && is_well_escaped(target)
}

/// Whether `host` is `name`, `address` or `[address]`, with an optional port.
pub(super) fn is_host(host: &[u8]) -> bool {
    let port = if let Some(rest) = host.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', rest) else { return false };
        let (address, port) = rest.split_at(end);
        if !std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()) {
            return false;
        }
        &port[1..]
    } else {
        let (name, port) = host.split_at(memchr::memchr(b':', host).unwrap_or(host.len()));
        if name.is_empty() || !name.iter().all(|&byte| HOST[byte as usize]) || !is_well_escaped(name) {
            return false;
        }
        port
    };
    match port.split_first() {
        None => true,
        Some((b':', digits)) => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0')) <= 65_535
        }
        Some(_) => false,
    }
}

fn is_well_escaped(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).all(|at| {
        matches!(text.get(at + 1..at + 3), Some(&[high, low]) if HEX[high as usize] && HEX[low as usize])
    })
}

/// `value` without the spaces and tabs around it.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r01_each_byte_of_a_field_value_is_looked_at() {
        for length in 1..=17 {
            for at in 0..length {
                for fill in [b'x', b' ', b'~', 0x80, 0xff] {
                    for byte in 0..=255 {
                        let mut value = vec![fill; length];
                        value[at] = byte;
                        let good = (byte >= 32 && byte != 127) || byte == b'\t';
                        assert_eq!(is_field_value(&value), good, "{byte} at {at} of {length}");
                    }
                }
            }
        }
    }

    #[test]
    fn r02_host_is_a_name_or_an_address_and_a_port() {
        for good in
            ["a", "a.example", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b:0", "a:", "x%2dy", "h:65535"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a,b", "a:b", "a:65536", "a:999999", "[::1", "::1", "[::1]x", "[]", "[v1.x]",
            "u@h", "a/b", "a?b", "a#b", "a\\b", "a%2", "a%zz", "é", "http://a",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn r02_paths_are_escaped() {
        for good in ["/", "/v1/models/a%2Fb?x=y&z='", "/a//b/../c;d@e:f~"] {
            assert!(is_path_and_query(good.as_bytes()), "{good}");
        }
        for bad in [
            "/#", "/a#b", "/a b", "/\"", "/<", "/\\", "/^", "/`", "/{", "/|", "/%", "/%1", "/%gg", "/é",
            "/\0",
        ] {
            assert!(!is_path_and_query(bad.as_bytes()), "{bad}");
        }
    }
}
