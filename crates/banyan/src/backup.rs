//! `backup`, `restore`: the replicated state as a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::say;

/// `banyan backup`.
pub fn backup(client: &Client, path: &Path) -> Result {
    let bytes = client.download("/v1/backup")?;
    write(path, &bytes).map_err(|error| Failure::No(format!("cannot write {}: {error}", path.display())))?;
    say(&format!("{}: {} bytes", path.display(), bytes.len()));
    Ok(())
}

/// `banyan restore`.
pub fn restore(client: &Client, path: &Path) -> Result {
    let bytes =
        fs::read(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    let answer = client.post("/v1/restore", "application/octet-stream", &bytes)?;
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    say(&format!("{} resource(s), {} registration(s)", count("resources"), count("registrations")));
    Ok(())
}

/// Whole or not at all, and for its owner only: it holds what passwords are checked against.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    // The name is on the disk when its directory is.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
