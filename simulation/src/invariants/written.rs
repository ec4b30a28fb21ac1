//! I-29: no CDR is lost: at the end each is in the files of at least two nodes, and in those of each node in order,
//! none left out and none twice.

use std::collections::BTreeMap;

use cluster::CdrFilter;

use super::{Invariant, View};

/// I-29, in what the nodes' disks hold.
#[derive(Debug, Default)]
pub struct CdrsWritten;

impl Invariant for CdrsWritten {
    fn clause(&self) -> &'static str {
        "I-29 no CDR is lost"
    }

    fn end(&mut self, view: &View<'_>) -> Option<String> {
        let mut copies: BTreeMap<u64, usize> = BTreeMap::new();
        for node in view.nodes {
            let (id, written) = (node.cluster().node(), node.cluster().cdrs(&CdrFilter::default()));
            let written = match written {
                Ok(written) => written,
                Err(error) => return Some(format!("node {id}: {error}")),
            };
            let mut before = 0;
            for number in written.iter().filter_map(|cdr| cdr.get("seq")?.as_u64()) {
                // What a node never applied it has fetched from others by now.
                if number != before + 1 {
                    return Some(format!("node {id} has CDR {number} after {before}"));
                }
                before = number;
                *copies.entry(number).or_default() += 1;
            }
        }
        let made = view.nodes.iter().map(|node| node.cluster().read(|state| state.cdrs_made())).max()?;
        let wanted = view.nodes.len().min(2);
        let rare = (1..=made).find(|number| copies.get(number).is_none_or(|copies| *copies < wanted));
        rare.map(|number| format!("CDR {number} of {made} is on fewer than {wanted} disks"))
    }
}
