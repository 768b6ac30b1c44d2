//! One worker's copy of what its fleet shares, kept in step with the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

use crate::config::options::{Options, Role};
use crate::config::target::Target;
use crate::error::{Code, Error, Result};
use crate::lease::Rule;
use crate::memory::{Held, Memory, Unpublished, Unshared};
use crate::runtime::off_runtime;
use crate::snapshot::{Compression, Encoded, Snapshot};
use crate::state::{Millis, SnapshotInfo, State, millis};
use crate::store::shared::SharedStore;
use crate::store::{Commit, Reading, Store};

/// Maximum delay before a commit that came too late is prepared again.
const MAX_RACE_DELAY_MS: u64 = 10;

/// Minimum time between two repairs of the store, as a part of the interval: who damages it again and again must not
/// make every worker write all definitions as often.
const REPAIRS_APART_PART: u32 = 10;

/// Maximum number of commits of one repair: one drops what is damaged, another one puts back what is held.
const REPAIR_COMMITS: u32 = 2;

/// So many reports wait for a listener; older ones are dropped.
const REPORTS: usize = 16;

/// The copy: what was last read, what is held, and what has yet to be published.
pub struct Replica {
    owner: String,
    rule: Rule,
    compression: Compression,
    heals: bool,
    shared: Arc<SharedStore>,
    memory: Arc<Memory>,
    reports: broadcast::Sender<Error>,
}

/// What a worker finds when it looks.
pub struct Synced {
    pub reading: Reading,
    /// The snapshot that the store holds. The state may name one that this worker holds, and could not put back.
    pub stored: Option<SnapshotInfo>,
    pub damage: Option<Error>,
}

impl Replica {
    /// Empty; touches nothing yet.
    pub fn new(owner: String, options: &Options, shared: Arc<SharedStore>, memory: Arc<Memory>) -> Self {
        Replica {
            owner,
            rule: options.rule,
            compression: match (&options.target, options.compression) {
                // No network to spare, and files that a person can read.
                (Target::Directory(_) | Target::Memory, Compression::Auto) => Compression::None,
                (_, compression) => compression,
            },
            heals: options.role == Role::Auto,
            shared,
            memory,
            reports: broadcast::Sender::new(REPORTS),
        }
    }

    /// Where the shared things are.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.shared.store()
    }

    /// The snapshot that was last in the store, and the state in which it was last seen there.
    pub fn held(&self) -> Option<Held> {
        self.memory.with(|memory| memory.held.clone())
    }

    /// The newest definitions that this worker has, in the store or not yet, and their ETag.
    pub fn newest(&self) -> Option<(Arc<Snapshot>, Option<String>)> {
        self.memory.with(|memory| {
            if let Some(Unpublished { snapshot, etag, .. }) = &memory.unpublished {
                return Some((snapshot.clone(), etag.clone()));
            }
            if let Some(Unshared { snapshot, etag, .. }) = &memory.unshared {
                return Some((snapshot.clone(), etag.clone()));
            }
            let (snapshot, seen) = memory.held.as_ref()?;
            Some((snapshot.clone(), seen.snapshot.as_ref().and_then(|info| info.etag.clone())))
        })
    }

    /// The same, unless it is so long that the store was last seen to have what this worker has.
    pub fn younger_than(&self, age: Duration) -> Option<Arc<Snapshot>> {
        let seen_at = self.memory.with(|memory| memory.seen_at);
        seen_at.filter(|seen_at| seen_at.elapsed() < age)?;
        self.newest().map(|(snapshot, _)| snapshot)
    }

    /// The state as last read, with the store's time brought up to now.
    pub fn last_reading(&self) -> Option<Reading> {
        let (reading, read_at) = self.memory.with(|memory| memory.read.clone())?;
        let passed = millis(read_at.elapsed());
        Some(Reading { now: reading.now.saturating_add(passed), ..reading })
    }

    /// How long the last read took.
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.round_trip()
    }

    /// Failures that no caller hears of.
    pub fn reports(&self) -> broadcast::Receiver<Error> {
        self.reports.subscribe()
    }

    /// Reports a failure to whoever listens.
    pub fn report(&self, error: Error) {
        // An error here only says that nobody does.
        let _ = self.reports.send(error);
    }

    /// Reads the state, and makes the store's snapshot and the held one the same: mostly by loading
    /// what is new, but where the store lost what this worker holds, by putting it back.
    ///
    /// A damaged snapshot is dropped, so that whoever holds a sound one learns of it, and counts as
    /// none; the damage is returned, for who can do nothing about it.
    pub async fn sync(&self) -> Result<Synced> {
        let mut damage = None;
        let mut commits = self.repair_commits();
        loop {
            let held = self.held();
            let (mut reading, found) = self.shared.load(held.as_ref().map(|(snapshot, _)| snapshot)).await?;
            let news = match found.transpose() {
                Ok(news) => news,
                Err(error) => {
                    self.report(error.clone());
                    damage = Some(error);
                    if commits > 0 {
                        commits -= 1;
                        self.note_repair();
                        self.commit(&reading, &self.rule.discard(&reading.state, reading.now), None).await?;
                        continue;
                    }
                    reading.state.snapshot = None;
                    None
                }
            };
            let stored = reading.state.snapshot.clone();
            let lost = held.as_ref().filter(|_| self.heals).and_then(|(snapshot, seen)| {
                Some((snapshot, self.rule.restore(&reading.state, reading.now, seen)?))
            });
            match lost {
                Some((snapshot, next)) if commits > 0 => {
                    commits -= 1;
                    self.note_repair();
                    if self.restore(&reading, snapshot, next).await? {
                        self.memory.with(|memory| memory.counters.heals += 1);
                    }
                    continue;
                }
                // It goes on as if it had put them back.
                Some((_, next)) => reading.state = State { revision: reading.state.revision, ..next },
                None => {}
            }
            self.adopt(&reading, news);
            return Ok(Synced { reading, stored, damage });
        }
    }

    /// How many commits a repair may take now.
    fn repair_commits(&self) -> u32 {
        let apart = self.rule.refresh_interval / REPAIRS_APART_PART;
        let is_due = self.memory.with(|memory| memory.healed_at.is_none_or(|at| at.elapsed() >= apart));
        if self.heals && is_due { REPAIR_COMMITS } else { 0 }
    }

    fn note_repair(&self) {
        self.memory.with(|memory| memory.healed_at = Some(Instant::now()));
    }

    fn adopt(&self, reading: &Reading, news: Option<Arc<Snapshot>>) {
        self.memory.with(|memory| {
            let now = Instant::now();
            memory.read = Some((reading.clone(), now));
            let stored_at = published_at(&reading.state);
            let confirmed_at = reading.state.confirmed_at.filter(|_| reading.state.outdated_at.is_none());
            memory.unshared = memory.unshared.take().filter(|unshared| {
                let fetched_at = reading.now.saturating_sub(millis(unshared.fetched_at.elapsed()));
                unshared.stored_at == stored_at && confirmed_at <= Some(fetched_at)
            });
            let Some(info) = &reading.state.snapshot else { return };
            let counters = &mut memory.counters;
            *(if news.is_some() { &mut counters.loads } else { &mut counters.unchanged }) += 1;
            let held = memory.held.take().map(|(snapshot, _)| snapshot);
            let current = news.or(held).filter(|snapshot| snapshot.version() == info.version);
            memory.held = current.map(|snapshot| (snapshot, reading.state.clone()));
            if reading.state.outdated_at.is_none() {
                memory.seen_at = Some(now);
            }
        });
    }

    async fn restore(&self, reading: &Reading, snapshot: &Arc<Snapshot>, next: State) -> Result<bool> {
        let encoded = self.encode(snapshot, None).await?;
        let info = next.snapshot.map(|info| SnapshotInfo { bytes: encoded.length(), ..info });
        Ok(self.commit(reading, &State { snapshot: info, ..next }, Some(encoded)).await?.is_committed())
    }

    /// Takes fetched definitions; `publish` makes them the fleet's.
    pub fn stage(&self, snapshot: Arc<Snapshot>, etag: Option<String>, fence: Option<u64>) {
        self.memory.with(|memory| {
            let fetched_at = memory.client.fetched_at;
            memory.unpublished = Some(Unpublished { snapshot, etag, fence, fetched_at, was_tried: false });
        });
    }

    /// Forgets what is staged: the API has answered with something newer.
    pub fn unstage(&self) {
        self.memory.with(|memory| memory.unpublished = None);
    }

    /// Takes definitions of this version once more that could not be shared; says whether there are any.
    pub fn stage_unshared(&self, version: &str, fence: Option<u64>) -> bool {
        self.memory.with(|memory| {
            let unshared = memory.unshared.as_ref().filter(|unshared| unshared.snapshot.version() == version);
            let Some(Unshared { snapshot, etag, fetched_at, .. }) = unshared.cloned() else { return false };
            let fetched_at = Some(fetched_at);
            memory.unpublished = Some(Unpublished { snapshot, etag, fence, fetched_at, was_tried: false });
            true
        })
    }

    /// Publishes what is staged, unless a newer grant has superseded it. On failure it stays staged.
    pub async fn publish(&self) -> Result<()> {
        let staged = self.memory.with(|memory| {
            let staged = memory.unpublished.clone();
            memory.unpublished.iter_mut().for_each(|unpublished| unpublished.was_tried = true);
            staged
        });
        let Some(staged) = staged else { return Ok(()) };
        if staged.was_tried {
            // First, because the store may take all the time there is to fail once more.
            let _ = self.outdate(Some(staged.snapshot.version())).await;
        }
        let outcome = self.try_publish(&staged).await;
        match &outcome {
            // Where no write passes, each poll hears of it.
            Err(error) if error.code() == Code::ReadOnly => self.memory.with(|memory| {
                memory.unpublished.iter_mut().for_each(|unpublished| unpublished.was_tried = false);
            }),
            Err(_) => drop(self.outdate(Some(staged.snapshot.version())).await),
            Ok(_) => {}
        }
        let (is_published, Reading { state, now }) = outcome?;
        if is_published {
            self.shared.published(&staged.snapshot);
        }
        self.memory.with(|memory| {
            // Unless newer ones took their place meanwhile.
            memory.unpublished = memory.unpublished.take().filter(|other| !other.is(&staged));
            let Unpublished { snapshot, etag, fetched_at, .. } = staged;
            let counters = &mut memory.counters;
            *(if is_published { &mut counters.publishes } else { &mut counters.superseded }) += 1;
            let stored_at = published_at(&state);
            // Newer than what the store holds, if that was published before.
            let is_newer = |began: &Instant| stored_at <= Some(now.saturating_sub(millis(began.elapsed())));
            if state.snapshot.as_ref().is_some_and(|stored| stored.version == snapshot.version()) {
                memory.seen_at = Some(Instant::now());
                memory.held = Some((snapshot, state));
                memory.unshared = None;
            } else if let Some(fetched_at) = fetched_at.filter(is_newer) {
                memory.unshared = Some(Unshared { snapshot, etag, fetched_at, stored_at });
            }
        });
        Ok(())
    }

    /// Whether it was published, and the state then. Otherwise a newer grant has superseded it.
    async fn try_publish(&self, staged: &Unpublished) -> Result<(bool, Reading)> {
        let Unpublished { snapshot, etag, fence, .. } = staged;
        let version = snapshot.version();
        let info =
            SnapshotInfo { version: version.to_owned(), etag: etag.clone(), bytes: 0, published_at: 0 };
        let publish = |reading: &Reading| {
            self.rule.publish(&reading.state, reading.now, &self.owner, *fence, info.clone())
        };
        let mut known = self.last_reading().filter(|reading| publish(reading).is_some());
        // By the version that it replaces, from which a patch may lead on.
        let mut encoded: Option<(Option<String>, Encoded)> = None;
        loop {
            let reading = self.known_or_read(known).await?;
            let Some(mut next) = publish(&reading) else { return Ok((false, reading)) };
            let stored = reading.state.snapshot.as_ref();
            let (bytes, content) = match stored.filter(|stored| stored.version == version) {
                Some(stored) => (stored.bytes, None),
                None => {
                    let replaced = stored.map(|stored| stored.version.clone());
                    let content = match encoded.take().filter(|(base, _)| *base == replaced) {
                        Some((_, content)) => content,
                        None => {
                            let base = replaced.as_deref().and_then(|replaced| self.held_version(replaced));
                            self.encode(snapshot, base).await?
                        }
                    };
                    encoded = Some((replaced, content.clone()));
                    (content.length(), Some(content))
                }
            };
            next.snapshot.iter_mut().for_each(|info| info.bytes = bytes);
            known = match self.commit(&reading, &next, content).await? {
                Commit::Committed(now) => return Ok((true, Reading { state: next, now })),
                Commit::Conflict(found) => Some(found),
            };
        }
    }

    /// Tells the others that the stored definitions are older than those of this version, which the store does not
    /// take (`None`: they are too large to have a version). So small a commit may pass where definitions do not; if it
    /// fails too, the others hear for themselves that the store does not work.
    pub async fn outdate(&self, version: Option<&str>) -> Result<()> {
        let outdate =
            |reading: &Reading| self.rule.outdate(&reading.state, reading.now, &self.owner, version);
        self.change(outdate).await.map(drop)
    }

    /// Commits the change of the state that `rule` names; `false` where it names none.
    pub async fn change(&self, rule: impl Fn(&Reading) -> Option<State>) -> Result<bool> {
        let mut known = self.last_reading().filter(|reading| rule(reading).is_some());
        loop {
            let reading = self.known_or_read(known).await?;
            let Some(next) = rule(&reading) else { return Ok(false) };
            known = match self.commit(&reading, &next, None).await? {
                Commit::Committed(_) => return Ok(true),
                Commit::Conflict(found) => Some(found),
            };
        }
    }

    /// What is known will do for a change: a commit over anything else fails, and tells what the store holds.
    async fn known_or_read(&self, known: Option<Reading>) -> Result<Reading> {
        match known {
            Some(known) => Ok(known),
            None => self.store().read().await,
        }
    }

    /// Commits, and recognises a commit of its own whose reply got lost: then the store has carried
    /// it out twice, and refused it the second time.
    pub async fn commit(&self, reading: &Reading, next: &State, encoded: Option<Encoded>) -> Result<Commit> {
        let now = match self.shared.commit(reading.state.revision, next, encoded).await? {
            Commit::Committed(now) => now,
            Commit::Conflict(found) if found.state == *next => found.now,
            conflict @ Commit::Conflict(_) => {
                // Several may race, and a server may refuse for ever.
                sleep(Duration::from_millis(fastrand::u64(1..=MAX_RACE_DELAY_MS))).await;
                return Ok(conflict);
            }
        };
        self.memory.with(|memory| {
            memory.read = Some((Reading { state: next.clone(), now }, Instant::now()));
            let Some((held, seen)) = &mut memory.held else { return };
            if next.snapshot.as_ref().is_some_and(|info| info.version == held.version()) {
                *seen = next.clone();
                if next.outdated_at.is_none() {
                    memory.seen_at = Some(Instant::now());
                }
            }
        });
        Ok(Commit::Committed(now))
    }

    /// The state as last read, if it says that this worker leads, and that the store has the snapshot that it holds.
    pub fn led(&self) -> Option<Reading> {
        let reading = self.last_reading()?;
        let stored = reading.state.snapshot.as_ref()?;
        let is_held = self.memory.with(|memory| {
            let held = memory.held.as_ref().is_some_and(|(held, _)| held.version() == stored.version);
            held && memory.unshared.is_none()
        });
        let leads = reading.state.lease.as_ref().is_some_and(|lease| lease.owner == self.owner);
        (is_held && leads).then_some(reading)
    }

    async fn encode(&self, snapshot: &Arc<Snapshot>, replaced: Option<Arc<Snapshot>>) -> Result<Encoded> {
        let (snapshot, compression) = (snapshot.clone(), self.compression);
        off_runtime(move || snapshot.encode(compression, replaced.as_deref())).await
    }

    fn held_version(&self, version: &str) -> Option<Arc<Snapshot>> {
        self.held().map(|(snapshot, _)| snapshot).filter(|snapshot| snapshot.version() == version)
    }
}

/// When the store's definitions were published.
fn published_at(state: &State) -> Option<Millis> {
    state.snapshot.as_ref().map(|snapshot| snapshot.published_at)
}
