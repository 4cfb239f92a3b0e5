//! What is known of blobs in the repositories of a run: one table, (blob, repository) to state.
//!
//! It asks nobody. A blob that ten thousand repositories need is looked up in each of them at the same
//! cost as one that a single repository needs.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::error::Error;
use crate::registry::Repository;
use crate::registry::upload::RemoteSession;

/// A repository of the run, by its position.
pub(super) type At = u32;

/// How many repositories a blob is offered from before it is sent.
const OFFERS: usize = 3;

/// How much is known of a blob in a repository. A later one is never taken back for an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    /// Nobody asked.
    #[default]
    Unknown,
    /// The repository said that it lacks it.
    Lacking,
    /// It is not to be had there without its bytes either.
    Absent,
    /// It is there.
    Present,
    /// Its bytes were sent there in this run.
    Sent,
}

#[derive(Default)]
struct State {
    presence: Presence,
    /// The upload session that the registry opened instead of mounting.
    begun: Option<Box<RemoteSession>>,
    /// Why the repository did not take it.
    trouble: Option<Error>,
}

/// Who needs a blob, and who has it.
#[derive(Default)]
struct Blob {
    wanted_by: Vec<At>,
    /// Repositories of this run that have it, the first ones.
    first: Vec<At>,
    /// Where the source has it, as `registry/path`.
    holders: Vec<String>,
}

/// Repositories, blobs, and the state of each blob in each of them.
#[derive(Default)]
pub(super) struct Table {
    repositories: Vec<Repository>,
    by_name: HashMap<String, At>,
    blobs: HashMap<Digest, Blob>,
    states: HashMap<(Digest, At), State>,
}

impl Table {
    pub(super) fn repositories(&self) -> &[Repository] {
        &self.repositories
    }

    pub(super) fn find(&self, name: &str) -> Option<At> {
        self.by_name.get(name).copied()
    }

    /// Adds a repository, unless it is there.
    pub(super) fn add(&mut self, name: String, opened: Repository) -> At {
        let next = At::try_from(self.repositories.len()).unwrap_or(At::MAX);
        let at = *self.by_name.entry(name).or_insert(next);
        if at == next {
            self.repositories.push(opened);
        }
        at
    }

    pub(super) fn repository(&self, at: At) -> &Repository {
        &self.repositories[at as usize]
    }

    /// Notes that repositories need a blob, which others hold.
    pub(super) fn want(&mut self, digest: Digest, by: &[At], holders: Vec<String>) {
        let blob = self.blobs.entry(digest).or_default();
        for at in by {
            // One image after the other says what it needs: a repository that said so before was last.
            if blob.wanted_by.last() != Some(at) {
                blob.wanted_by.push(*at);
            }
        }
        for holder in holders {
            if !blob.holders.contains(&holder) {
                blob.holders.push(holder);
            }
        }
    }

    /// The repositories that need a blob, each once, and whether the source holds it in one.
    pub(super) fn wanted_by(&self, digest: &Digest) -> (Vec<At>, bool) {
        let Some(blob) = self.blobs.get(digest) else { return Default::default() };
        let mut all = blob.wanted_by.clone();
        all.sort_unstable();
        all.dedup();
        // In order of their names: what is asked first does not follow from who was listed first.
        all.sort_by_cached_key(|at| self.repository(*at).name());
        (all, !blob.holders.is_empty())
    }

    /// Paths that a blob may be mounted from into a repository: those of this run that have it, and,
    /// where wanted, those that it comes from.
    pub(super) fn offers(&self, digest: &Digest, to: At, holders: bool) -> Vec<String> {
        let Some(blob) = self.blobs.get(digest) else { return Vec::new() };
        let to = self.repository(to);
        let near = blob.first.iter().map(|at| self.repository(*at));
        let near = near.filter(|r| r.domain() == to.domain()).map(|r| r.path().to_owned());
        let far = blob.holders.iter().filter(|_| holders);
        let far = far.filter_map(|h| h.strip_prefix(to.domain())?.strip_prefix('/'));
        let all = near.chain(far.map(str::to_owned)).filter(|path| path != to.path());
        all.take(OFFERS).collect()
    }

    /// Whether a repository of the run, or one that the source has it in, is known to have a blob.
    pub(super) fn is_near(&self, digest: &Digest) -> bool {
        self.blobs.get(digest).is_some_and(|blob| !blob.first.is_empty())
    }

    pub(super) fn presence(&self, digest: &Digest, at: At) -> Presence {
        self.states.get(&(*digest, at)).map_or(Presence::Unknown, |state| state.presence)
    }

    pub(super) fn is_present(&self, digest: &Digest, at: At) -> bool {
        self.presence(digest, at) >= Presence::Present
    }

    fn state(&mut self, digest: &Digest, at: At) -> &mut State {
        self.states.entry((*digest, at)).or_default()
    }

    /// Notes what was found out.
    pub(super) fn mark(&mut self, digest: &Digest, at: At, presence: Presence) {
        let state = self.state(digest, at);
        let before = state.presence;
        state.presence = before.max(presence);
        if presence >= Presence::Present && before < Presence::Present {
            let blob = self.blobs.entry(*digest).or_default();
            // Of each registry a few are enough to mount from.
            if blob.first.len() < 4 * OFFERS {
                blob.first.push(at);
            }
        }
    }

    /// Keeps a session for the upload; the one that was kept before.
    pub(super) fn begin(
        &mut self,
        digest: &Digest,
        at: At,
        session: RemoteSession,
    ) -> Option<RemoteSession> {
        self.state(digest, at).begun.replace(Box::new(session)).map(|before| *before)
    }

    /// The session that was opened for a blob, for who uploads it or ends it.
    pub(super) fn take_begun(&mut self, digest: &Digest, at: At) -> Option<RemoteSession> {
        self.states.get_mut(&(*digest, at))?.begun.take().map(|session| *session)
    }

    /// Every session that nothing was sent to.
    pub(super) fn unused(&mut self) -> Vec<(Repository, RemoteSession)> {
        let repositories = &self.repositories;
        let of = |((_, at), state): (&(Digest, At), &mut State)| {
            Some((repositories[*at as usize].clone(), *state.begun.take()?))
        };
        self.states.iter_mut().filter_map(of).collect()
    }

    /// Notes why a repository did not take a blob.
    pub(super) fn refuse(&mut self, digest: &Digest, at: At, error: Error) {
        self.state(digest, at).trouble = Some(error);
    }

    pub(super) fn trouble(&self, digest: &Digest, at: At) -> Option<Error> {
        self.states.get(&(*digest, at))?.trouble.clone()
    }
}
