//! The one writer of a process. Acts wait in two queues; each runs in a savepoint of its own, and one commit lands all that were waiting
//! at that moment, so that a hundred of them cost one flush of the disk and not a hundred.
//!
//! A group ends when nobody waits any more (who comes alone is committed alone, at once), after [`MOST`] acts or [`LONGEST`], and after
//! something urgent. Nobody is answered before the commit is on the disk: a refusal too may rest on what another of the group did. An act
//! that is refused or fails undoes its own savepoint; a group that cannot be begun or committed fails as a whole.
//!
//! Both queues are bounded: where one is full, whoever comes waits for room, in order.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::{Act, Inner, Now, Outcome, StoreError, Tx, Urgency, Work, log, postgres};
use crate::access::names::Actor;
use crate::audit::entry::Entry;
use crate::audit::event::Event;

/// Where acts queue.
#[derive(Clone)]
pub(super) struct Queues {
    urgent: mpsc::Sender<Waiting>,
    ordinary: mpsc::Sender<Waiting>,
}

/// An act that stands in a queue.
type Waiting = Box<dyn Job>;

/// The other end of the queues.
struct Waiters {
    urgent: mpsc::Receiver<Waiting>,
    ordinary: mpsc::Receiver<Waiting>,
}

/// What one act did in its savepoint.
pub(super) enum Did {
    /// It is kept, with its events.
    Wrote(Vec<Event>),
    /// It is kept: bookkeeping, no change of the world.
    Noted,
    /// It is undone: nothing was to be changed, or it was refused, or it failed by itself.
    Nothing,
    /// The store failed under it, in these words, and so under everything that would be committed with it.
    Lost(String),
}

/// An error of an act, which may be the store's.
pub trait Failing: From<StoreError> + Send + 'static {
    /// The store's part in it, if it has one.
    fn store(&self) -> Option<&StoreError>;
}

impl Failing for StoreError {
    fn store(&self) -> Option<&StoreError> {
        Some(self)
    }
}

/// The future of an act's turn.
pub(super) type Turn<'t, T> = Pin<Box<dyn Future<Output = T> + Send + 't>>;

/// What the writer knows of an act.
trait Job: Send {
    fn urgency(&self) -> Urgency;
    fn actor(&self) -> Actor;
    /// Nothing may stand behind it in its group.
    fn is_last(&self) -> bool;
    /// Its turn has come.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Turn<'t, Did>;
    /// Whatever came of it, this is its answer.
    fn fail(&mut self, error: StoreError);
    /// Tells whoever asked.
    fn answer(self: Box<Self>);
}

/// An act, and who waits for its answer.
struct Asked<T, E, F> {
    urgency: Urgency,
    actor: Actor,
    now: Now,
    act: Option<F>,
    /// Called once it is committed, before any other act runs.
    then: Option<Box<dyn FnOnce() + Send>>,
    value: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Job for Asked<T, E, F>
where
    T: Send + 'static,
    E: Failing,
    F: for<'t> FnOnce(&'t mut Tx) -> Turn<'t, (Result<T, E>, Did)> + Send,
{
    fn urgency(&self) -> Urgency {
        self.urgency
    }

    fn actor(&self) -> Actor {
        self.actor.clone()
    }

    fn is_last(&self) -> bool {
        self.then.is_some()
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Turn<'t, Did> {
        Box::pin(async move {
            let Some(act) = self.act.take() else { return Did::Nothing };
            tx.now = self.now.read();
            let (value, did) = act(tx).await;
            let lost = value.as_ref().err().and_then(Failing::store).filter(|error| error.is_loss()).map(ToString::to_string);
            self.value = Some(value);
            lost.map_or(did, Did::Lost)
        })
    }

    fn fail(&mut self, error: StoreError) {
        self.value = Some(Err(error.into()));
    }

    fn answer(self: Box<Self>) {
        let Self { then, value, answer, .. } = *self;
        let value = value.unwrap_or_else(|| Err(StoreError::Task("it had no turn".to_owned()).into()));
        if let (Ok(_), Some(then)) = (&value, then) {
            then();
        }
        // Who asked may be gone.
        let _ = answer.send(value);
    }
}

/// An act in the words of the broker: what it made of its transaction decides whether that is kept.
pub(super) async fn act<T, E, F>(act: F, tx: &mut Tx) -> (Result<T, E>, Did)
where
    F: for<'t> FnOnce(&'t mut Tx) -> Act<'t, T, E>,
{
    match act(tx).await {
        Ok(Outcome::Changed(value, event)) => (Ok(value), Did::Wrote(vec![event])),
        Ok(Outcome::Both(value, events)) => (Ok(value), Did::Wrote(Vec::from(events))),
        Ok(Outcome::Many(value, events)) if !events.is_empty() => (Ok(value), Did::Wrote(events)),
        Ok(Outcome::Many(value, _) | Outcome::Same(value)) => (Ok(value), Did::Nothing),
        Err(error) => (Err(error), Did::Nothing),
    }
}

/// Bookkeeping: what it wrote is kept unless it failed.
pub(super) async fn note<T, F>(work: F, tx: &mut Tx) -> (Result<T, StoreError>, Did)
where
    F: for<'t> FnOnce(&'t mut Tx) -> Work<'t, T>,
{
    match work(tx).await {
        Ok(value) => (Ok(value), Did::Noted),
        Err(error) => (Err(error), Did::Nothing),
    }
}

impl Queues {
    /// The queues of a store, and the task that works them off; it ends with the last of them.
    pub(super) fn begin(inner: &Arc<Inner>) -> Self {
        let ((urgent, first), (ordinary, second)) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
        tokio::spawn(write(Arc::clone(inner), Waiters { urgent: first, ordinary: second }));
        Self { urgent, ordinary }
    }

    /// Stands in its queue and waits for the answer. Once it stands there it is done, whether or not somebody still waits.
    pub(super) async fn ask<T, E, F>(
        &self,
        urgency: Urgency,
        actor: Actor,
        now: Now,
        act: F,
        then: Option<Box<dyn FnOnce() + Send>>,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Failing,
        F: for<'t> FnOnce(&'t mut Tx) -> Turn<'t, (Result<T, E>, Did)> + Send + 'static,
    {
        let (answer, told) = oneshot::channel();
        let job = Box::new(Asked { urgency, actor, now, act: Some(act), then, value: None, answer });
        let queue = match urgency {
            Urgency::Ordinary => &self.ordinary,
            Urgency::Urgent | Urgency::Trial => &self.urgent,
        };
        let ended = |what: &str| Err(StoreError::Task(what.to_owned()).into());
        if queue.send(job).await.is_err() {
            return ended("the writer has ended");
        }
        told.await.unwrap_or_else(|_| ended("its group broke off"))
    }

    /// How many stand in the ordinary queue.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.ordinary.max_capacity() - self.ordinary.capacity()
    }
}

/// Works the queues off, group by group, until nobody can come any more.
async fn write(inner: Arc<Inner>, waiters: Waiters) {
    let waiters = Arc::new(Mutex::new(waiters));
    let mut was_urgent = false;
    loop {
        let Some(first) = waiters.lock().await.next(was_urgent).await else { return };
        was_urgent = first.urgency() != Urgency::Ordinary;
        // In a task of its own: an act that panics takes its group with it, and not the writer.
        if let Err(broke) = tokio::spawn(group(Arc::clone(&inner), Arc::clone(&waiters), first)).await {
            tracing::error!(%broke, "a group of changes broke off; none of them was made");
        }
    }
}

impl Waiters {
    /// The next to come, what is urgent first; but after something urgent one of the others, so that they come at all.
    async fn next(&mut self, was_urgent: bool) -> Option<Waiting> {
        if was_urgent && let Ok(job) = self.ordinary.try_recv() {
            return Some(job);
        }
        tokio::select! {
            biased;
            Some(job) = self.urgent.recv() => Some(job),
            Some(job) = self.ordinary.recv() => Some(job),
            else => None,
        }
    }

    /// Everybody who waits at this moment.
    fn all(&mut self) -> Vec<Waiting> {
        let mut all = Vec::new();
        while let Ok(job) = self.urgent.try_recv().or_else(|_| self.ordinary.try_recv()) {
            all.push(job);
        }
        all
    }
}

async fn group(inner: Arc<Inner>, waiters: Arc<Mutex<Waiters>>, first: Waiting) {
    let mut waiters = waiters.lock().await;
    let mut done = Vec::new();
    match together(&inner, &mut waiters, first, &mut done).await {
        Ok(entries) => {
            for entry in entries {
                // Nobody listening is no failure.
                let _ = inner.entries.send(Arc::new(entry));
            }
        }
        Err(error) => {
            let (why, loss) = (error.to_string(), error.is_loss());
            if loss {
                // They would only wait for one silence after the other.
                done.extend(waiters.all());
            }
            done.iter_mut().for_each(|job| job.fail(StoreError::Group { why: why.clone(), loss }));
        }
    }
    done.into_iter().for_each(|job| job.answer());
}

/// Runs `first` and whoever else waits, and commits; `done` are those who are to be answered then. The entries of all of them.
async fn together(inner: &Inner, waiters: &mut Waiters, first: Waiting, done: &mut Vec<Waiting>) -> Result<Vec<Entry>, StoreError> {
    if inner.turned_away(first.as_ref()) {
        let mut first = first;
        first.fail(StoreError::Shut);
        done.push(first);
        return Ok(Vec::new());
    }
    let tx = match inner.begin().await {
        Ok(tx) => tx,
        Err(error) => {
            done.push(first);
            return Err(error);
        }
    };
    let mut group = Group { inner, tx, log: None, entries: Vec::new(), kept: false };
    let (began, mut acts, mut urgent, mut next) = (Instant::now(), 0, false, Some(first));
    while let Some(mut job) = next.take() {
        if inner.turned_away(job.as_ref()) {
            job.fail(StoreError::Shut);
        } else if let Err(error) = group.run(&mut job).await {
            done.push(job);
            return Err(error);
        }
        acts += 1;
        urgent |= job.urgency() != Urgency::Ordinary;
        // Where nothing is kept so far there is no savepoint to go back to: what was undone ends the transaction.
        let full = acts >= inner.most.load(Ordering::Relaxed) || began.elapsed() >= LONGEST || job.is_last() || !group.kept;
        done.push(job);
        if !full {
            next = waiters.urgent.try_recv().ok();
            if next.is_none() && !urgent {
                next = waiters.ordinary.try_recv().ok();
            }
        }
    }
    group.commit().await
}

/// A transaction with several acts.
struct Group<'g> {
    inner: &'g Inner,
    tx: Tx,
    /// The end of this node's log as the acts so far leave it; none before the first event.
    log: Option<log::End>,
    entries: Vec<Entry>,
    /// There is something to commit. Before that, undoing is rolling all of it back.
    kept: bool,
}

impl Group<'_> {
    /// Runs one act; an error is the end of the whole group.
    async fn run(&mut self, job: &mut Waiting) -> Result<(), StoreError> {
        if self.kept {
            self.tx.inner.run("SAVEPOINT act").await?;
        }
        let kept = match job.run(&mut self.tx).await {
            Did::Wrote(events) => self.append(job, events).await?,
            Did::Noted => true,
            Did::Nothing => false,
            Did::Lost(why) => return Err(StoreError::Group { why, loss: true }),
        };
        if self.kept {
            self.tx.inner.run(if kept { "RELEASE SAVEPOINT act" } else { "ROLLBACK TO SAVEPOINT act; RELEASE SAVEPOINT act" }).await?;
        }
        self.kept |= kept;
        Ok(())
    }

    /// Appends the events of an act; false where they cannot be told, which is that act's failure alone.
    async fn append(&mut self, job: &mut Waiting, events: Vec<Event>) -> Result<bool, StoreError> {
        match self.told(&job.actor(), events).await {
            Ok((end, entries)) => {
                self.log = Some(end);
                self.entries.extend(entries);
                Ok(true)
            }
            Err(error) if error.is_loss() => Err(error),
            Err(error) => {
                job.fail(error);
                Ok(false)
            }
        }
    }

    async fn told(&mut self, actor: &Actor, events: Vec<Event>) -> Result<(log::End, Vec<Entry>), StoreError> {
        let node = &self.inner.node;
        let now = self.tx.now;
        let mut end = match &self.log {
            Some(end) => end.clone(),
            None => log::End::read(self.tx.conn(), node).await?,
        };
        let mut entries = Vec::with_capacity(events.len());
        for event in events {
            entries.push(end.append(self.tx.conn(), node, actor.clone(), event, now).await?);
        }
        Ok((end, entries))
    }

    async fn commit(mut self) -> Result<Vec<Entry>, StoreError> {
        if !self.kept {
            self.tx.inner.rollback().await?;
            return Ok(Vec::new());
        }
        if let Some(end) = self.log {
            end.keep(self.tx.conn(), &self.inner.node).await?;
            postgres::tell(self.tx.conn(), &self.inner.node).await?;
        }
        self.tx.inner.commit().await?;
        #[cfg(test)]
        self.inner.commits.fetch_add(1, Ordering::Relaxed);
        Ok(self.entries)
    }
}

impl Inner {
    async fn begin(&self) -> Result<Tx, StoreError> {
        self.in_place()?;
        let _next = self.line.pass().await;
        let mut inner = self.pools.write.begin("BEGIN IMMEDIATE", "BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        postgres::turn(&mut inner).await?;
        Ok(Tx { inner, now: crate::access::time::Timestamp::from_micros(0) })
    }

    fn turned_away(&self, job: &dyn Job) -> bool {
        job.urgency() != Urgency::Trial && self.shut.load(Ordering::Acquire)
    }
}

/// What each queue holds before whoever comes must wait.
const WAITING: usize = 1024;
/// Acts in one group: few enough that what is urgent, and other nodes, soon have their turn.
pub(super) const MOST: usize = 64;
/// And how long they may take together. One act that is slow by itself may exceed it.
const LONGEST: Duration = Duration::from_millis(50);
