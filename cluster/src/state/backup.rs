//! Backups: what of the state outlives its cluster. Those are the resources, the counts of the rate windows and where
//! accounts are registered. Calls are not among them: their dialogs ended with their nodes, and their records are in
//! the files of those.

use std::collections::BTreeMap;
use std::sync::Arc;

use call::HomeId;
use serde::{Deserialize, Serialize};
use trunk::{Name, Resources};

use super::homes::Home;
use super::windows::Windows;
use super::{Delta, SnapshotError, State};
use crate::command::Refused;
use crate::registration::Binding;

/// What is put back into an empty cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restore {
    resources: Arc<Resources>,
    windows: BTreeMap<Name, Windows>,
    bindings: Vec<Bound>,
}

/// Where an account is registered. Homes of another cluster have other ids: by what it is called, its home is found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bound {
    trunk: Name,
    account: u8,
    home: Home,
    binding: Arc<Binding>,
}

impl Restore {
    /// Reads a backup. Any bytes may be given.
    ///
    /// # Errors
    /// The bytes are not a whole backup that this program knows.
    pub fn read(bytes: &[u8]) -> Result<Restore, SnapshotError> {
        let (label, state) = State::from_snapshot(bytes)?;
        if label != LABEL {
            return Err(SnapshotError::Magic);
        }
        let bindings = state.bindings.iter().filter_map(|(trunk, account, binding)| {
            let home = state.homes.get(&binding.place.home)?.clone();
            Some(Bound { trunk: trunk.clone(), account, home, binding: binding.clone() })
        });
        let bindings = bindings.collect();
        Ok(Restore { resources: state.resources, windows: state.windows, bindings })
    }

    /// The resources in it.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// How many accounts are registered in it.
    pub fn registrations(&self) -> usize {
        self.bindings.len()
    }
}

impl State {
    /// What of this state outlives the cluster, as a snapshot of nothing else: its chunks, made as they are asked for.
    pub fn backup(&self) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
        let kept = State {
            time: self.time,
            resources: self.resources.clone(),
            homes: self.homes.clone(),
            windows: self.windows.clone(),
            bindings: self.bindings.clone(),
            apply_version: self.apply_version,
            ..State::default()
        };
        kept.into_snapshot(LABEL.to_vec())
    }

    /// Whether this version of commands knows backups.
    pub fn restores(&self) -> bool {
        self.apply_version >= SINCE
    }

    /// A cluster without resources, and so without calls, becomes what the backup says.
    pub(super) fn restore(&mut self, backup: &Restore, deltas: &mut Vec<Delta>) -> Result<(), Refused> {
        if !self.resources.is_empty() || !self.calls.is_empty() {
            return Err(Refused::NotEmpty);
        }
        let before = self.resources.version;
        let mut resources = Resources::clone(&backup.resources);
        resources.version = resources.version.max(before) + 1;
        self.resources = Arc::new(resources);
        self.windows.clone_from(&backup.windows);
        for Bound { trunk, account, home, binding } in &backup.bindings {
            if let Some(here) = self.home_like(home).filter(|_| binding.expires > self.time) {
                let mut binding = Binding::clone(binding);
                binding.place.home = here;
                self.bindings.put((trunk.clone(), *account), Arc::new(binding));
            }
        }
        self.resources_changed(before, deltas);
        Ok(())
    }

    /// The home that is called like one of another cluster, and moves as little or as much.
    fn home_like(&self, other: &Home) -> Option<HomeId> {
        let found = self.homes.iter().find(|(_, home)| home.is_like(other));
        found.map(|(id, _)| *id)
    }
}

/// What tells a backup from other snapshots.
const LABEL: &[u8] = b"backup";
/// The version of `apply` from which a cluster can be restored.
const SINCE: u32 = 3;
