//! Update notifications (notices): a new version, often with the patch to it.
//!
//! ```text
//! notice = JSON of `Header`, a line feed, a patch or nothing
//! ```
//!
//! A notice is only a hint. It can be lost, late, duplicated or forged, and at the next poll the stored state
//! decides.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::definitions::codec::Encoded;
use crate::state::{SnapshotInfo, State, is_etag};

/// Maximum length of a patch in a notice: each process of the fleet receives it.
const MAX_PATCH_BYTES: usize = 8 * 1024;

/// Maximum length of a notice. A longer one is from another program.
const MAX_NOTICE_BYTES: usize = 2 * MAX_PATCH_BYTES;

/// The notices of a store, as a watcher sees them.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    /// How many there were, of any kind.
    pub count: u64,
    /// How often notices may have been missed, so that the worker must read the store.
    pub gaps: u64,
    /// The last new version that was announced.
    pub published: Option<Arc<Published>>,
}

/// A new version in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub info: SnapshotInfo,
    /// The patch from the previous version.
    pub patch: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    revision: u64,
    #[serde(flatten)]
    info: SnapshotInfo,
}

impl Notices {
    /// Others may have been missed.
    pub fn gap(&mut self) {
        self.count += 1;
        self.gaps += 1;
    }

    /// A message has arrived. An empty one means that a lease was released, which only waiting workers need to know.
    pub fn message(&mut self, message: &[u8]) {
        if message.is_empty() {
            self.count += 1;
        } else if let Some(published) = decode(message) {
            self.count += 1;
            self.published = Some(Arc::new(published));
        } else {
            self.gap();
        }
    }
}

/// The notice of a commit of this state, with this snapshot.
pub fn encode(state: &State, snapshot: Option<&Encoded>) -> Vec<u8> {
    let (Some(info), Some(snapshot)) = (&state.snapshot, snapshot) else { return Vec::new() };
    let header = Header { revision: state.revision, info: info.clone() };
    let mut notice = serde_json::to_vec(&header).unwrap_or_default();
    notice.push(b'\n');
    let patch = snapshot.patch.as_deref().filter(|patch| patch.len() <= MAX_PATCH_BYTES);
    notice.extend_from_slice(patch.unwrap_or_default());
    notice
}

fn decode(notice: &[u8]) -> Option<Published> {
    if notice.len() > MAX_NOTICE_BYTES {
        return None;
    }
    let end = notice.iter().position(|byte| *byte == b'\n')?;
    let (header, patch) = (notice.get(..end)?, notice.get(end + 1..)?);
    let Header { info, .. } = serde_json::from_slice(header).ok()?;
    let info = SnapshotInfo { etag: info.etag.filter(|etag| is_etag(etag)), ..info };
    Some(Published { info, patch: (!patch.is_empty()).then(|| Bytes::copy_from_slice(patch)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let info = SnapshotInfo {
            version: "f".repeat(64),
            etag: Some("\"a\"".to_owned()),
            bytes: 5,
            published_at: 7,
        };
        State { revision: 3, snapshot: Some(info), ..State::default() }
    }

    fn with_patch(patch: Option<Vec<u8>>) -> Encoded {
        Encoded { bytes: Bytes::from_static(b"{...}"), patch: patch.map(Bytes::from) }
    }

    fn told(message: &[u8]) -> Notices {
        let mut notices = Notices::default();
        notices.message(message);
        assert_eq!(notices.count, 1);
        notices
    }

    #[test]
    fn a_notice_carries_the_new_version_and_a_short_patch() {
        for (length, is_carried) in [(1, true), (MAX_PATCH_BYTES, true), (MAX_PATCH_BYTES + 1, false)] {
            let patch = vec![b'\n'; length];
            let notices = told(&encode(&state(), Some(&with_patch(Some(patch.clone())))));
            let published = notices.published.unwrap();
            assert_eq!((Some(&published.info), notices.gaps), (state().snapshot.as_ref(), 0));
            assert_eq!(published.patch, is_carried.then(|| Bytes::from(patch)));
        }
        let published = told(&encode(&state(), Some(&with_patch(None)))).published.unwrap();
        assert_eq!(published.patch, None);
    }

    #[test]
    fn a_commit_without_definitions_says_nothing_of_a_version() {
        assert!(encode(&state(), None).is_empty());
        assert!(encode(&State::default(), Some(&with_patch(None))).is_empty());
        let notices = told(b"");
        assert_eq!((notices.gaps, notices.published), (0, None));
    }

    #[test]
    fn what_is_no_notice_of_ours_says_only_that_there_may_be_something() {
        let whole = encode(&state(), Some(&with_patch(None)));
        let header_alone = &whole[..whole.len() - 1];
        for message in [b"v1".as_slice(), b"\n", b"{}\n", b"\xff\n\xff", header_alone, &vec![b' '; 100_000]] {
            let notices = told(message);
            assert_eq!((notices.gaps, notices.published), (1, None));
        }
    }

    #[test]
    fn an_etag_that_no_request_can_carry_is_left_out() {
        let mut state = state();
        state.snapshot.as_mut().unwrap().etag = Some("*".to_owned());
        let published = told(&encode(&state, Some(&with_patch(None)))).published.unwrap();
        assert_eq!(published.info.etag, None);
    }
}
