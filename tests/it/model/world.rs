//! One instant of the modelled fleet, and its steps.

use std::sync::Arc;

use posthog_flag_cache::lease::{Decision, FailedFetch, Failure, Rule, Worker};
use posthog_flag_cache::state::{Millis, SnapshotInfo, State};

use super::{COLD_START_WAIT, TICK};

/// The ids of the workers, in the order in which they first poll.
pub const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Whether requests carry the ETag of the snapshot that the worker holds, as `flagCache.fetch` has
    /// it, or that of the client's own last 200.
    pub shared: bool,
    pub now: Millis,
    pub store: State,
    pub members: Vec<Member>,
    /// How often the flags were edited: PostHog answers [`content`] of that.
    pub edit: u8,
    pub faults_left: usize,
    pub may_lose_data: bool,
    born: usize,
    /// The newest grant as it happened, whatever the store says of it.
    pub newest: Option<Grant>,
    /// Whether somebody has published while another was fetching, who may have published an older answer over it.
    pub beside: bool,
    pub committed_at: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    pub owner: &'static str,
    pub fence: u64,
    pub at: Millis,
}

/// One posthog-node client with its provider. A crash, or a shutdown, makes it a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Member {
    /// `None` until it first polls.
    pub owner: Option<&'static str>,
    pub seen: Option<Arc<State>>,
    /// The content of this client's own last 200.
    pub etag: Option<u8>,
    /// The content by which this client evaluates; followed only where the ETag is shared.
    pub evaluates: Option<u8>,
    /// The content that a notice has brought, until it looks at the store.
    pub announced: Option<u8>,
    pub phase: Phase,
    /// Whether it cannot reach PostHog.
    pub is_sick: bool,
    /// Its last fetch, if that failed.
    pub failed: Option<FailedFetch>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    #[default]
    Idle,
    Committing(Attempt),
    /// Under this fence; `None` where it knows of no grant.
    Fetching(Option<u64>),
    /// PostHog has answered with the flags as of this edit.
    Publishing {
        fence: Option<u64>,
        edit: u8,
    },
    /// PostHog has answered that this content is current.
    Confirming {
        fence: Option<u64>,
        content: u8,
    },
    /// PostHog has answered with an error.
    Failing,
}

/// A commit under way, prepared at `at` from the revision `expected`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    pub purpose: Purpose,
    pub at: Millis,
    expected: u64,
    pub next: Arc<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    Grant,
    Restore,
    Publish { fence: Option<u64>, edit: u8 },
}

impl Member {
    /// The content under whose ETag this worker's requests go out where the ETag is shared.
    pub fn holds(&self) -> Option<u8> {
        self.announced.or(self.stored())
    }

    fn stored(&self) -> Option<u8> {
        self.seen.as_ref()?.snapshot.as_ref()?.etag.as_ref()?.parse().ok()
    }
}

/// The definitions after so many edits: every second edit takes the one before it back.
pub fn content(edit: u8) -> u8 {
    edit % 2 + 1
}

/// The content that the state holds.
pub fn stored(state: &State) -> Option<u8> {
    state.snapshot.as_ref()?.version.parse().ok()
}

/// The edit as of which it was fetched. The rule makes nothing of a snapshot's length, so that the model
/// notes it there.
pub fn stored_edit(state: &State) -> Option<u64> {
    state.snapshot.as_ref().map(|snapshot| snapshot.bytes)
}

impl World {
    pub fn new(shared: bool, workers: usize, faults: usize) -> World {
        World {
            shared,
            now: 0,
            store: State::default(),
            members: vec![Member::default(); workers],
            edit: 0,
            faults_left: faults,
            may_lose_data: true,
            born: 0,
            newest: None,
            beside: false,
            committed_at: 0,
        }
    }

    /// Who may poll now. Newcomers are alike, so that trying the first of them is enough.
    pub fn pollers(&self) -> impl Iterator<Item = usize> {
        let newcomer = self.members.iter().position(|member| member.owner.is_none());
        let polls = move |(i, member): &(usize, &Member)| {
            member.phase == Phase::Idle && (member.owner.is_some() || Some(*i) == newcomer)
        };
        self.members.iter().enumerate().filter(polls).map(|(i, _)| i)
    }

    /// The commits that land if they come next, and whose they are.
    pub fn landings(&self) -> impl Iterator<Item = (&'static str, &Attempt)> {
        self.members.iter().filter_map(|member| match &member.phase {
            Phase::Committing(attempt) if attempt.expected == self.store.revision => {
                Some((member.owner?, attempt))
            }
            _ => None,
        })
    }

    /// Who holds which answer, under which fence.
    pub fn publishers(&self) -> impl Iterator<Item = (&'static str, Option<u64>, u8)> {
        self.members.iter().filter_map(|member| match member.phase {
            Phase::Publishing { fence, edit } => Some((member.owner?, fence, edit)),
            _ => None,
        })
    }

    /// Who asks PostHog.
    pub fn fetchers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| matches!(member.phase, Phase::Fetching(_)))
    }

    /// Whether this is the newest grant; without a fence, whether it is this owner's.
    pub fn is_newest(&self, owner: &str, fence: Option<u64>) -> bool {
        let is = |newest: &Grant| newest.owner == owner && fence.is_none_or(|fence| fence == newest.fence);
        self.newest.as_ref().is_some_and(is)
    }

    /// Who may hear of the stored snapshot by a notice: it holds an older one.
    pub fn listeners(&self) -> impl Iterator<Item = usize> {
        let published_at = |state: &State| state.snapshot.as_ref().map(|snapshot| snapshot.published_at);
        let (at, stored) = (published_at(&self.store), stored(&self.store));
        let hears = move |(_, member): &(usize, &Member)| {
            let held_at = member.seen.as_ref().and_then(|seen| published_at(seen));
            let is_news = member.holds() != stored && member.stored() != stored;
            member.phase == Phase::Idle && is_news && held_at.is_some() && held_at < at
        };
        self.members.iter().enumerate().filter(hears).map(|(i, _)| i)
    }

    /// The worker takes the snapshot from its notice, and its client loads at once.
    pub fn hear(&mut self, i: usize) {
        let stored = stored(&self.store);
        let member = &mut self.members[i];
        member.announced = stored;
        member.evaluates = stored;
    }

    /// What a poll puts back first.
    pub fn restore(&self, rule: &Rule, i: usize) -> Option<State> {
        rule.restore(&self.store, self.now, self.members[i].seen.as_deref()?)
    }

    pub fn decide(&self, rule: &Rule, i: usize) -> Decision {
        let member = &self.members[i];
        let owner = member.owner.unwrap_or(NAMES[self.born]);
        let me = Worker { owner, seen: member.seen.as_deref(), impatient: false, failed: member.failed };
        rule.decide(&self.store, self.now, me)
    }

    pub fn published(&self, rule: &Rule, owner: &str, fence: Option<u64>, edit: u8) -> Option<State> {
        let version = content(edit).to_string();
        let etag = self.shared.then(|| version.clone());
        let snapshot = SnapshotInfo { version, etag, bytes: edit.into(), published_at: 0 };
        rule.publish(&self.store, self.now, owner, fence, snapshot)
    }

    pub fn poll(&mut self, rule: &Rule, i: usize) {
        if let Some(next) = self.restore(rule, i) {
            return self.attempt(i, Purpose::Restore, next);
        }
        let decision = self.decide(rule, i);
        let stored = stored(&self.store);
        if stored.is_some() {
            let seen = Arc::new(self.store.clone());
            let member = self.name(i);
            (member.seen, member.announced) = (Some(seen), None);
        }
        match decision {
            Decision::Grant(next) => self.attempt(i, Purpose::Grant, next),
            Decision::Follow => {
                let shared = self.shared;
                let member = self.name(i);
                member.evaluates = stored.filter(|_| shared).or(member.evaluates);
            }
            Decision::Wait(_) => {}
        }
    }

    pub fn publish(&mut self, rule: &Rule, i: usize) {
        let Member { owner: Some(owner), phase: Phase::Publishing { fence, edit }, .. } = self.members[i]
        else {
            return;
        };
        match self.published(rule, owner, fence, edit) {
            Some(next) => self.attempt(i, Purpose::Publish { fence, edit }, next),
            None => self.members[i].phase = Phase::Idle,
        }
    }

    pub fn fetch(&mut self, i: usize) {
        let (member, current) = (&mut self.members[i], content(self.edit));
        let Phase::Fetching(fence) = member.phase else { return };
        if member.is_sick {
            return self.fail(i);
        }
        member.failed = None;
        let sent = if self.shared { member.holds() } else { member.etag };
        let unchanged = sent == Some(current);
        if self.shared {
            // A 304 to a client that does not have this very version is answered from the snapshot.
            member.evaluates = if unchanged { sent } else { Some(current) };
        }
        member.etag = Some(current);
        member.phase = match (unchanged, self.shared) {
            (false, _) => Phase::Publishing { fence, edit: self.edit },
            (true, true) => Phase::Confirming { fence, content: current },
            (true, false) => Phase::Idle,
        };
    }

    /// Without the wrapped fetch the provider hears nothing of an error.
    pub fn fail(&mut self, i: usize) {
        let (member, at) = (&mut self.members[i], self.now);
        if !self.shared {
            member.phase = Phase::Idle;
            return;
        }
        let count = member.failed.map_or(0, |failed| failed.count) + 1;
        member.failed = Some(FailedFetch { at, count });
        member.phase = Phase::Failing;
    }

    /// The state in which the fleet knows that PostHog confirmed the snapshot, or failed.
    pub fn reported(&self, rule: &Rule, i: usize) -> Option<State> {
        let Member { owner: Some(owner), phase, .. } = &self.members[i] else { return None };
        match phase {
            Phase::Confirming { fence, content } => {
                rule.confirm(&self.store, self.now, owner, *fence, &content.to_string())
            }
            Phase::Failing => rule.fail(&self.store, self.now, owner, Failure::Worker),
            _ => None,
        }
    }

    pub fn report(&mut self, rule: &Rule, i: usize) {
        let next = self.reported(rule, i);
        self.members[i].phase = Phase::Idle;
        if let Some(next) = next {
            self.accept(next);
        }
    }

    fn attempt(&mut self, i: usize, purpose: Purpose, next: State) {
        let (at, expected, next) = (self.now, self.store.revision, Arc::new(next));
        self.name(i).phase = Phase::Committing(Attempt { purpose, at, expected, next });
    }

    pub fn commit(&mut self, i: usize, heard: bool) {
        let Phase::Committing(attempt) = std::mem::take(&mut self.members[i].phase) else { return };
        self.record(i, &attempt);
        self.accept(State::clone(&attempt.next));
        let member = &mut self.members[i];
        if heard && attempt.purpose != Purpose::Grant {
            (member.seen, member.announced) = (Some(Arc::clone(&attempt.next)), None);
        }
        member.phase = match attempt.purpose {
            Purpose::Grant if heard => Phase::Fetching(Some(attempt.next.fence)),
            // posthog-node fetches when `shouldFetchFlagDefinitions` throws.
            Purpose::Grant | Purpose::Restore if !heard => Phase::Fetching(None),
            // What may not be published yet is published again before the next poll.
            Purpose::Publish { fence, edit } if !heard => Phase::Publishing { fence, edit },
            _ => Phase::Idle,
        };
    }

    /// The store's compare-and-set. Who has read another revision is refused, and hears so at once:
    /// that is no loss of behaviour, for what it does next it may do at any later time.
    fn accept(&mut self, next: State) {
        self.store = next;
        self.committed_at = self.now;
        for member in &mut self.members {
            if let Phase::Committing(Attempt { purpose, expected, .. }) = member.phase
                && expected != self.store.revision
            {
                member.phase = match purpose {
                    Purpose::Publish { fence, edit } => Phase::Publishing { fence, edit },
                    Purpose::Grant | Purpose::Restore => Phase::Idle,
                };
            }
        }
    }

    /// It takes a tick, as revisions could come twice within one.
    pub fn lose_data(&mut self) {
        self.now += TICK;
        self.accept(State::default());
        self.newest = None;
        self.may_lose_data = false;
    }

    pub fn shut_down(&mut self, rule: &Rule, i: usize) {
        let Some(owner) = std::mem::take(&mut self.members[i]).owner else { return };
        if let Some(next) = rule.release(&self.store, self.now, owner) {
            self.accept(next);
        }
    }

    pub fn name(&mut self, i: usize) -> &mut Member {
        let member = &mut self.members[i];
        if member.owner.is_none() {
            member.owner = Some(NAMES[self.born]);
            self.born += 1;
        }
        member
    }

    fn record(&mut self, i: usize, Attempt { purpose, at, next, .. }: &Attempt) {
        let member = &self.members[i];
        match purpose {
            Purpose::Publish { fence, .. } if next.fence == self.store.fence => {
                self.beside |= member.owner.is_none_or(|owner| !self.is_newest(owner, *fence));
            }
            Purpose::Grant | Purpose::Publish { .. } => {
                self.newest = member.owner.map(|owner| Grant { owner, fence: next.fence, at: *at });
            }
            // The grant that the restorer knew of counts again where none has been given since.
            Purpose::Restore if self.store.lease.is_none() => {
                let Some(State { lease: Some(lease), granted_at, fence, .. }) = member.seen.as_deref() else {
                    return;
                };
                let at = self.newest.as_ref().map(|newest| newest.at).max(*granted_at).unwrap_or(0);
                let known = NAMES.into_iter().find(|name| *name == lease.owner);
                self.newest = known.map(|owner| Grant { owner, fence: *fence, at });
            }
            Purpose::Restore => {}
        }
    }

    /// What comes of it when nothing is edited and nothing fails any more, and everybody polls so many
    /// times, once in every `pace`, one after the other.
    pub fn left_in_peace(&self, rule: &Rule, polls: u64, pace: Millis, in_order: bool) -> World {
        let mut world = self.clone();
        for poll in 1..=polls {
            world.now = world.now.max(self.now + poll * pace);
            for turn in 0..world.members.len() {
                let i = if in_order { turn } else { world.members.len() - 1 - turn };
                if world.members[i].owner.is_some() {
                    world.poll_through(rule, i);
                }
            }
        }
        world
    }

    fn poll_through(&mut self, rule: &Rule, i: usize) {
        while self.restore(rule, i).is_some() {
            self.poll(rule, i);
            self.commit(i, true);
        }
        // As the provider does: it waits, up to a limit, and asks again.
        let deadline = self.now + COLD_START_WAIT;
        while let Decision::Wait(until) = self.decide(rule, i)
            && until <= deadline
        {
            self.now = until;
        }
        self.poll(rule, i);
        self.commit_now(i);
        self.fetch(i);
        self.publish(rule, i);
        self.commit_now(i);
        if matches!(self.members[i].phase, Phase::Confirming { .. } | Phase::Failing) {
            self.report(rule, i);
        }
    }

    fn commit_now(&mut self, i: usize) {
        if matches!(self.members[i].phase, Phase::Committing(_)) {
            self.commit(i, true);
        }
    }

    /// Whether the snapshot, and with a shared ETag every client, is at PostHog's version.
    pub fn is_current(&self) -> bool {
        let current = Some(content(self.edit));
        let mut living = self.members.iter().filter(|member| member.owner.is_some() && !member.is_sick);
        stored(&self.store) == current && (!self.shared || living.all(|member| member.evaluates == current))
    }

    /// Whether no worker can reach PostHog.
    pub fn is_cut_off(&self) -> bool {
        self.members.iter().all(|member| member.owner.is_none() || member.is_sick)
    }

    /// Whether somebody lives, and nobody is in the midst of anything.
    pub fn is_quiet(&self) -> bool {
        self.members.iter().any(|member| member.owner.is_some())
            && self.members.iter().all(|member| member.phase == Phase::Idle)
    }

    /// Merges worlds that differ in nothing that counts, which makes the check several times faster.
    pub fn forget_what_cannot_matter(&mut self) {
        self.members.sort_by_key(|member| (member.owner.is_none(), member.owner));
        if self.may_lose_data && self.faults_left > 0 {
            return;
        }
        // With no loss to come, nobody puts back what is no newer than the store's.
        let Some(stored) = &self.store.snapshot else { return };
        for member in &mut self.members {
            let Some(held) = member.seen.as_ref().and_then(|seen| seen.snapshot.as_ref()) else { continue };
            if held.published_at > stored.published_at {
                continue;
            }
            // A fetch sends its ETag, and a notice brings the next one.
            let kept = self.shared.then(|| SnapshotInfo { bytes: 0, published_at: 0, ..held.clone() });
            member.seen = Some(Arc::new(State { snapshot: kept, ..State::default() }));
        }
    }
}
