//! As much of DER (ITU-T X.690) as names and keys in certificates need.

pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// Takes the next value off the front of `input`: its tag and its content. `None` at the end and
/// for what is no DER.
pub(super) fn next<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    const LONG_FORM: u8 = 0x80;
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= LONG_FORM {
        let count = usize::from(first - LONG_FORM);
        let (digits, behind) = rest.split_at_checked(count)?;
        // Four bytes of length are more than any certificate has.
        if count == 0 || count > 4 {
            return None;
        }
        length = digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit));
        rest = behind;
    }
    let (content, behind) = rest.split_at_checked(length)?;
    *input = behind;
    Some((tag, content))
}

/// Takes the next value, which must have this tag.
pub(super) fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    next(input).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// A value of this tag.
pub(super) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_length_are_read_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let content = vec![7; length];
            let both = [value(OCTET_STRING, &content), value(SET, b"x")].concat();
            let mut input = both.as_slice();
            assert_eq!(expect(&mut input, OCTET_STRING), Some(&content[..]));
            assert_eq!(next(&mut input), Some((SET, &b"x"[..])));
            assert_eq!(next(&mut input), None);
        }
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        for damaged in [&b"\x04"[..], b"\x04\x02a", b"\x04\x80a", b"\x04\x85aaaaaa", b"\x04\x82a"] {
            assert_eq!(next(&mut &damaged[..]), None, "{damaged:?}");
        }
    }
}
