//! linphone's command-line client, another telephone that everybody has: it plays a tone and records what it hears.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::{tone, wait};

/// A telephone at 127.0.0.1, over UDP, which answers every call.
#[derive(Debug)]
pub struct Linphone {
    dir: PathBuf,
    child: Child,
    orders: ChildStdin,
}

impl Linphone {
    /// Starts a telephone that plays `hertz`. It takes `port`, and for RTP the port `rtp` and the next one.
    ///
    /// # Panics
    /// When it is not installed (`cargo xtask test` installs it) or its files can't be written.
    pub fn start(dir: &Path, user: &str, port: u16, rtp: u16, hertz: f64) -> Self {
        let dir = dir.join(format!("linphone-{user}"));
        fs::create_dir_all(dir.join(".local/share/linphone")).expect("the telephone's directory");
        tone::write(&dir.join("played.wav"), hertz, 60).expect("the telephone's tone");
        let config = format!(
            "[sip]\nsip_port={port}\nsip_tcp_port=0\nsip_tls_port=0\nbind_address=127.0.0.1\n[rtp]\naudio_rtp_port={rtp}\n"
        );
        fs::write(dir.join("config"), config).expect("the telephone's configuration");
        let words = File::create(dir.join("words")).expect("what it says");
        let child = Command::new("linphonec")
            .args(["-a", "-d", "0", "-c", "config"])
            .env("HOME", &dir)
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(words.try_clone().expect("a second handle"))
            .stderr(words)
            .spawn();
        let mut child = child.expect("linphonec starts; install it with `apt-get install linphone-cli`");
        let orders = child.stdin.take().expect("it is piped");
        let mut telephone = Self { dir, child, orders };
        telephone.order("soundcard use files");
        telephone.hears_of("Using wav files");
        telephone.order(&format!("play {}", telephone.dir.join("played.wav").display()));
        telephone.order(&format!("record {}", telephone.dir.join("heard.wav").display()));
        telephone
    }

    /// Lets it do something.
    ///
    /// # Panics
    /// When it has ended.
    pub fn order(&mut self, what: &str) {
        writeln!(self.orders, "{what}").expect("the telephone runs");
    }

    /// Registers an account.
    pub fn register(&mut self, user: &str, registrar: SocketAddr, password: &str) {
        self.order(&format!("register sip:{user}@{registrar} sip:{registrar} {password}"));
    }

    /// Waits until it says something.
    ///
    /// # Panics
    /// When it does not.
    pub fn hears_of(&self, what: &str) {
        wait::until(&format!("linphone says {what:?}"), PATIENCE, || self.words().contains(what));
    }

    /// All that it has said.
    pub fn words(&self) -> String {
        let words = fs::read(self.dir.join("words")).unwrap_or_default();
        String::from_utf8_lossy(&words).into_owned()
    }

    /// What it has heard.
    pub fn heard(&self) -> Vec<i16> {
        tone::read(&self.dir.join("heard.wav")).unwrap_or_default()
    }
}

impl Drop for Linphone {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
