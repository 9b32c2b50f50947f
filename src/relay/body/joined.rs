//! Neighbouring parts of one frame go on as one piece.

use bytes::Bytes;

/// Two parts of `frame` as one, if the second follows the first.
pub(super) fn joined(frame: &Bytes, first: &Bytes, second: &Bytes) -> Option<Bytes> {
    let within = |part: &Bytes| {
        let start = part.as_ptr().addr().checked_sub(frame.as_ptr().addr())?;
        (start + part.len() <= frame.len()).then_some(start..start + part.len())
    };
    let (first, second) = (within(first)?, within(second)?);
    (first.end == second.start).then(|| frame.slice(first.start..second.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_a_frame_are_joined_and_others_are_not() {
        let frame = Bytes::from(b"abcdef".to_vec());
        let (ab, cd, ef) = (frame.slice(..2), frame.slice(2..4), frame.slice(4..));
        assert_eq!(joined(&frame, &ab, &cd), Some(frame.slice(..4)));
        assert_eq!(joined(&frame, &joined(&frame, &ab, &cd).unwrap(), &ef), Some(frame.clone()));
        assert_eq!(joined(&frame, &ab, &ef), None);
        assert_eq!(joined(&frame, &cd, &ab), None);
        assert_eq!(joined(&frame, &ab, &Bytes::from(b"cd".to_vec())), None);
        assert_eq!(joined(&Bytes::new(), &ab, &cd), None);
        assert_eq!(joined(&frame.slice(2..), &ab, &cd), None);
    }
}
