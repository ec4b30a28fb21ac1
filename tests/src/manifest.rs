//! Reading the workspace's manifests: which crate names which.

use std::fs;

use crate::source::root;

/// What one crate's `Cargo.toml` says.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// The package's name.
    pub name: String,
    /// The folder of the package, below the root.
    pub folder: String,
    /// Names under `[dependencies]`.
    pub dependencies: Vec<String>,
    /// Names under `[dev-dependencies]` and `[build-dependencies]`.
    pub for_tests: Vec<String>,
    /// Dependencies that do not take their version from the root.
    pub own_versions: Vec<String>,
    /// Whether it takes the workspace's lints.
    pub lints: bool,
}

/// The manifests of all members, in the order of the root manifest.
///
/// # Panics
/// When a manifest can't be read.
pub fn members() -> Vec<Manifest> {
    let text = read("Cargo.toml");
    let list = text.split_once("members = [").map_or("", |(_, rest)| rest);
    let list = list.split_once(']').map_or("", |(list, _)| list);
    // Every second piece between quotes is a folder.
    let folders = list.split('"').skip(1).step_by(2);
    folders.map(|folder| parse(folder, &read(&format!("{folder}/Cargo.toml")))).collect()
}

/// Reads one manifest as far as this page needs it: tables and the keys at their line starts.
fn parse(folder: &str, text: &str) -> Manifest {
    let mut manifest = Manifest { folder: folder.to_owned(), ..Manifest::default() };
    let mut table = "";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']');
            // `[dependencies.NAME]` is a dependency too.
            if let Some((kind, name)) = table.split_once('.') {
                manifest.depend(kind, name, true);
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match (table, key) {
            ("package", "name") => manifest.name = value.trim_matches('"').to_owned(),
            ("lints", "workspace") => manifest.lints = value == "true",
            _ => {
                let name = key.split('.').next().unwrap_or(key);
                let shared = key.ends_with(".workspace") || value.contains("workspace = true");
                manifest.depend(table, name, shared);
            }
        }
    }
    manifest
}

impl Manifest {
    fn depend(&mut self, table: &str, name: &str, shared: bool) {
        let list = match table {
            "dependencies" => &mut self.dependencies,
            "dev-dependencies" | "build-dependencies" => &mut self.for_tests,
            _ => return,
        };
        list.push(name.trim_matches('"').to_owned());
        if !shared {
            self.own_versions.push(name.to_owned());
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a manifest of the workspace is readable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_told_from_dev_dependencies() {
        let text = "[package]\nname = \"x\"\n[lints]\nworkspace = true\n[dependencies]\na.workspace = true\n\
                    b = { workspace = true, features = [] }\nc = \"1\"\n[dev-dependencies]\nd.workspace = true\n";
        let manifest = parse("crates/x", text);
        assert_eq!(manifest.name, "x");
        assert_eq!(manifest.dependencies, ["a", "b", "c"]);
        assert_eq!(manifest.for_tests, ["d"]);
        assert_eq!(manifest.own_versions, ["c"]);
        assert!(manifest.lints);
    }

    #[test]
    fn the_members_include_this_crate() {
        assert!(members().iter().any(|member| member.name == "tests" && member.folder == "tests"));
    }
}
