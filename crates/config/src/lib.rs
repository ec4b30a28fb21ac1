//! Node files and resource files: parsed, checked, printed and compared.
//!
//! Every mistake has a place, `file:line:column`, and a hint; one mistake hides no other. Resource types live in
//! `trunk`; this crate gives them their keys. It opens no file itself: callers hand in texts.
//!
//! ```
//! let source = config::Source { path: "trunks.toml".into(), text: "[[tenant]]\nnmae = \"x\"\n".into() };
//! let checked = config::check(&[source]);
//! let lines: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
//! assert_eq!(lines[1], "trunks.toml:2:1: unknown key `nmae` in [tenant] (did you mean `name`?)");
//! ```

mod checks;
mod cluster;
mod field;
mod json;
mod load;
mod nearest;
pub mod node;
mod out;
mod print;
mod problem;
mod profiles;
mod reader;
mod rules;
mod schema;
mod span;
mod toml;
mod tree;
mod visit;
mod writer;

use trunk::{Kind, Resource};

pub use load::{Notation, Passwords, ReadEnv, ReadFile};
pub use node::NodeFile;
pub use print::{
    Difference, diff, resource_to_json, resource_to_toml, resources_to_toml, resources_to_wire_json,
};
pub use problem::{Problem, Severity, Source};
pub use profiles::{names as profile_names, profile, profile_to_json, profiles_to_toml};

use load::{Loaded, load};
use problem::Problems;

/// A commented node file, as `banyan config init` writes it.
pub const NODE_TEMPLATE: &str = include_str!("../../../deploy/node.toml");

/// What `banyan check` found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// The node file of the set, if there is one.
    pub node: Option<NodeFile>,
    /// The resources of the set.
    pub resources: Vec<Resource>,
    /// Mistakes and warnings, in the order of files and lines.
    pub problems: Vec<Problem>,
}

impl Checked {
    /// Whether there is a mistake, and not only warnings.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

/// Checks a set of node and resource files, offline: every reference must be met by the set.
pub fn check(sources: &[Source]) -> Checked {
    let mut problems = Problems::new(sources);
    let loaded = load(sources, Notation::Toml, &Passwords::Ignore, &mut problems);
    let unmet = checks::unmet(&loaded);
    checks::report_unmet(&unmet, &loaded, &mut problems);
    judge(&loaded, &mut problems);
    Checked {
        node: loaded.nodes.first().map(|(_, node, _)| node.clone()),
        resources: loaded.items.into_iter().map(|item| item.resource).collect(),
        problems: problems.finish(),
    }
}

/// A set of resources, ready to be applied.
#[derive(Debug, Clone)]
pub struct ResourceSet {
    /// The resources, in the order of the files.
    pub resources: Vec<Resource>,
    /// What is hardly meant.
    pub warnings: Vec<Problem>,
    /// References that the cluster has to meet.
    pub external: Vec<External>,
}

/// A reference to a resource outside the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: String,
    /// What is to be said if there is none.
    pub problem: Problem,
}

impl ResourceSet {
    /// What is wrong if the cluster has only what `exists` says.
    pub fn unresolved(&self, exists: impl Fn(Kind, &str) -> bool) -> Vec<Problem> {
        self.external
            .iter()
            .filter(|external| !exists(external.kind, &external.name))
            .map(|external| external.problem.clone())
            .collect()
    }
}

/// Reads resource files that are to be applied: references may be met by the cluster.
pub fn read_resources(
    sources: &[Source],
    notation: Notation,
    passwords: &Passwords<'_>,
) -> Result<ResourceSet, Vec<Problem>> {
    let mut problems = Problems::new(sources);
    let loaded = load(sources, notation, passwords, &mut problems);
    for (file, _, tree) in &loaded.nodes {
        let span = tree.key_span_at(&["node"]).unwrap_or(0..0);
        problems.error(
            *file,
            &span,
            "a node file can't be applied".to_owned(),
            Some("only resources can".to_owned()),
        );
    }
    judge(&loaded, &mut problems);
    if problems.has_errors() {
        return Err(problems.finish());
    }
    let external = checks::unmet(&loaded)
        .into_iter()
        .filter_map(|unmet| {
            let mut one = Problems::new(sources);
            checks::report_unmet(std::slice::from_ref(&unmet), &loaded, &mut one);
            let problem = one.finish().into_iter().next()?;
            Some(External { kind: unmet.kind, name: unmet.name, problem })
        })
        .collect();
    Ok(ResourceSet {
        resources: loaded.items.into_iter().map(|item| item.resource).collect(),
        warnings: problems.finish(),
        external,
    })
}

/// Reads one node file; with it come its warnings.
pub fn read_node(source: &Source) -> Result<(NodeFile, Vec<Problem>), Vec<Problem>> {
    let sources = std::slice::from_ref(source);
    let mut problems = Problems::new(sources);
    let loaded = load(sources, Notation::Toml, &Passwords::Ignore, &mut problems);
    judge(&loaded, &mut problems);
    if loaded.nodes.is_empty() {
        let hint = Some("a node file has [node] with an id".to_owned());
        problems.error(0, &(0..0), "this is no node file".to_owned(), hint);
    }
    let failed = problems.has_errors();
    let problems = problems.finish();
    match loaded.nodes.into_iter().next() {
        Some((_, node, _)) if !failed => Ok((node, problems)),
        _ => Err(problems),
    }
}

/// What is wrong with a thing that a node file names, such as a certificate, at the key that names it.
pub fn problem_at(source: &Source, keys: &[&str], message: String) -> Option<Problem> {
    let sources = std::slice::from_ref(source);
    let loaded = load(sources, Notation::Toml, &Passwords::Ignore, &mut Problems::new(sources));
    let (file, _, tree) = loaded.nodes.first()?;
    let mut problems = Problems::new(sources);
    problems.error(*file, &tree.span_at(keys, None), message, None);
    problems.finish().pop()
}

/// Reads arbitrary bytes as a resource file in both notations and as a node file: for fuzzing.
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let sources = [Source { path: "fuzz".to_owned(), text }];
    let _ = check(&sources);
    for notation in [Notation::Toml, Notation::Json] {
        if let Ok(set) = read_resources(&sources, notation, &Passwords::Refuse) {
            // What was read can be printed, and reads the same again.
            let printed = resources_to_toml(&set.resources);
            let again = [Source { path: "printed".to_owned(), text: printed }];
            let reread = read_resources(&again, Notation::Toml, &Passwords::Refuse);
            assert!(reread.is_ok(), "printed resources must be readable: {reread:?}");
        }
    }
}

fn judge(loaded: &Loaded, problems: &mut Problems<'_>) {
    checks::duplicates(loaded, problems);
    checks::resources(loaded, problems);
    for (file, node, tree) in &loaded.nodes {
        checks::node(*file, node, tree, problems);
    }
    cluster::alike(loaded, problems);
}
