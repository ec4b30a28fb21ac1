//! Which branches of the state a run has taken: command by outcome, and for calls phase by change. Read from the log
//! of a node, which holds every command that was committed, by applying it once more.

use std::collections::{BTreeMap, BTreeSet};

use call::{CallCommand, CallRecord, Change, Phase};
use cluster::log::{Position, Record, scan};
use cluster::{Batch, Command, Outcome, Refused, Stamped, State, Verdict, codec};
use env::Disk as _;

use crate::disk::MemDisk;

/// How often each branch was taken, and the state that came of it.
#[derive(Debug, Default)]
pub struct Branches {
    /// By name.
    pub taken: BTreeMap<String, u64>,
    /// What the log alone makes.
    pub state: State,
    /// The numbers of the batches that were applied, by the node and the life that proposed them.
    applied: BTreeSet<(u64, u64, u64)>,
    /// The first batch that was applied twice.
    pub twice: Option<String>,
}

impl Branches {
    /// Applies the entries of a disk's log up to an index; `None` if its beginning is gone.
    pub fn of(disk: &MemDisk, applied: u64) -> Option<Branches> {
        let mut entries: Vec<(Position, Vec<u8>)> = Vec::new();
        let truncate = |entries: &mut Vec<(Position, Vec<u8>)>, from: u64| {
            while entries.last().is_some_and(|(at, _)| at.index >= from) {
                entries.pop();
            }
        };
        let files = disk.list().unwrap_or_default();
        for file in files.iter().filter(|file| file.name.starts_with("log-")) {
            let bytes = disk.file(&file.name)?;
            let seen = scan(&bytes, |record, _| match record {
                Record::Entry(at, payload) => {
                    truncate(&mut entries, at.index);
                    entries.push((at, payload.to_vec()));
                }
                Record::Truncated(from) => truncate(&mut entries, from),
                Record::Vote(_) | Record::Committed(_) | Record::Purged(_) => {}
            });
            seen.ok()?;
        }
        let begins = entries.first().is_some_and(|(at, _)| at.index == 0);
        if !begins {
            return None;
        }
        let mut branches = Branches::default();
        for (at, payload) in entries.iter().filter(|(at, _)| at.index <= applied) {
            branches.state.enter_term(at.term);
            if let Some((&NORMAL, rest)) = payload.split_first() {
                branches.apply(&codec::decode_entry(rest).ok()?);
            }
        }
        Some(branches)
    }

    fn apply(&mut self, stamped: &Stamped) {
        let before = phases(&self.state, &stamped.batch);
        let verdict = self.state.apply(stamped, &mut Vec::new());
        let outcomes = match verdict {
            Verdict::Applied(outcomes) => outcomes,
            Verdict::Repeated => return self.take("batch=repeated".to_owned()),
            Verdict::Gap { .. } => return self.take("batch=gap".to_owned()),
            Verdict::Fenced => return self.take("batch=fenced".to_owned()),
        };
        self.applied_once(&stamped.batch);
        self.take("batch=applied".to_owned());
        for ((command, outcome), phase) in stamped.batch.commands.iter().zip(&outcomes).zip(before) {
            self.take(format!("{}={}", name(command, phase), word(outcome)));
        }
    }

    /// Each batch of a life counts once, however often it was sent. A boot begins a life and has no number.
    fn applied_once(&mut self, batch: &Batch) {
        let (node, life, number) = (batch.node.0, batch.incarnation.0, batch.seq);
        if life != 0 && !self.applied.insert((node, life.into(), number)) {
            let found = || format!("batch {number} of node {node} in its life {life} is applied twice");
            self.twice.get_or_insert_with(found);
        }
    }

    fn take(&mut self, branch: String) {
        *self.taken.entry(branch).or_default() += 1;
    }
}

/// The phase of each command's call before the batch; of the second command of one call it is not known.
fn phases(state: &State, batch: &Batch) -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    let phase = |command: &Command| match command {
        Command::Call { call, .. } if seen.insert(*call) => state.call(*call).map_or("gone", |it| phase(it)),
        _ => "then",
    };
    batch.commands.iter().map(phase).collect()
}

fn phase(record: &CallRecord) -> &'static str {
    match &record.phase {
        Phase::Ringing { cancelled: true, .. } => "cancelled",
        Phase::Ringing { early, .. } if early.is_empty() => "trying",
        Phase::Ringing { .. } => "ringing",
        Phase::Answered { acked: false, .. } => "answered",
        Phase::Answered { acked: true, .. } => "talking",
    }
}

fn name(command: &Command, phase: &str) -> String {
    let change = match command {
        Command::Call { command: CallCommand::Change(change), .. } => change,
        _ => return plain(command).to_owned(),
    };
    let change = match change {
        Change::Attempt(_) => "attempt",
        Change::Progress(_) => "progress",
        Change::Cancel(_) => "cancel",
        Change::Confirm(_) => "confirm",
        Change::Acked(_) => "acked",
        Change::Update(_) => "update",
        Change::Advance(..) => "advance",
        Change::End(_) => "end",
        Change::Rehome(_) => "rehome",
        Change::Mark(_) => "mark",
    };
    format!("{phase}+{change}")
}

const fn plain(command: &Command) -> &'static str {
    match command {
        Command::Boot(_) => "boot",
        Command::Call { command: CallCommand::Admit(_), .. } => "admit",
        Command::Call { command: CallCommand::Refuse(_), .. } => "refuse",
        Command::Call { .. } => "change",
        Command::PutResources(_) => "put",
        Command::DeleteResource { .. } => "delete",
        Command::CdrsDurable(_) => "cdrs-durable",
        Command::Tick => "tick",
        Command::Evict { .. } => "evict",
        Command::Leave => "leave",
        Command::Return => "return",
        Command::Yield { .. } => "yield",
        Command::Drain { .. } => "drain",
        Command::Resume(_) => "resume",
        Command::Remove(_) => "remove",
        Command::RaiseVersion(_) => "raise-version",
        Command::Register(_) => "register",
        Command::Enrol(_) => "enrol",
        Command::Restore(_) => "restore",
        Command::Health(_) => "health",
    }
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Booted(_) => "booted",
        Outcome::Call(call::Outcome::Target(_)) => "target",
        Outcome::Call(call::Outcome::Limited(_)) => "limited",
        Outcome::Call(call::Outcome::Duplicate(_)) => "duplicate",
        Outcome::Call(call::Outcome::Refused(_)) => "refused-before",
        Outcome::Call(call::Outcome::Merged) => "merged",
        Outcome::Call(call::Outcome::Replayed) => "replayed",
        Outcome::Registered(_) => "registered",
        Outcome::Call(call::Outcome::Done)
        | Outcome::Done
        | Outcome::Put(Ok(_))
        | Outcome::Deleted(Ok(())) => "done",
        Outcome::Call(call::Outcome::Stale) | Outcome::Refused(Refused::Stale) => "stale",
        Outcome::Refused(Refused::TooOld { .. }) => "too-old",
        Outcome::Refused(_) | Outcome::Put(Err(_)) | Outcome::Deleted(Err(_)) => "refused",
    }
}

/// Branches that a sweep should take; others that it takes are shown too. What belongs to no phase (`then`) is left
/// out.
pub const WANTED: [&str; 58] = [
    "batch=applied",
    "batch=repeated",
    "batch=gap",
    "batch=fenced",
    "boot=booted",
    "boot=too-old",
    "put=done",
    "put=refused",
    "delete=done",
    "delete=refused",
    "cdrs-durable=done",
    "tick=done",
    "evict=done",
    "evict=stale",
    "leave=done",
    "return=done",
    "yield=done",
    "yield=stale",
    "yield=refused",
    "drain=done",
    "drain=refused",
    "resume=done",
    "resume=refused",
    "remove=done",
    "remove=refused",
    "raise-version=done",
    "raise-version=refused",
    "admit=target",
    "admit=limited",
    "admit=duplicate",
    "admit=merged",
    "admit=stale",
    "refuse=done",
    "refuse=stale",
    "trying+attempt=target",
    "trying+attempt=limited",
    "trying+progress=done",
    "trying+cancel=done",
    "trying+confirm=done",
    "trying+end=done",
    "ringing+attempt=target",
    "ringing+progress=done",
    "ringing+cancel=done",
    "ringing+confirm=done",
    "ringing+end=done",
    "ringing+rehome=done",
    "cancelled+confirm=done",
    "cancelled+end=done",
    "answered+acked=done",
    "answered+update=done",
    "answered+end=done",
    "talking+update=done",
    "talking+advance=done",
    "talking+rehome=done",
    "talking+end=done",
    "talking+end=stale",
    "gone+end=stale",
    "gone+confirm=stale",
];

/// How the log marks a batch.
const NORMAL: u8 = 1;
