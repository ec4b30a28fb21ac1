//! baresip, a telephone that everybody can hear: it plays a tone and records what it is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::sipp::Transport;
use crate::{tone, wait};

/// A telephone at 127.0.0.1. Debian's baresip sends RTP from a wildcard socket, so no other address would be honest.
#[derive(Debug)]
pub struct Telephone {
    user: String,
    port: u16,
    transport: Transport,
    dir: PathBuf,
    process: Option<Process>,
}

impl Telephone {
    /// Writes the configuration of a telephone that plays `hertz` and answers every call.
    ///
    /// It takes `port` and the next one, and for RTP the twenty ports from `rtp` on.
    ///
    /// # Panics
    /// When the directory can't be written.
    pub fn new(dir: &Path, user: &str, port: u16, rtp: u16, transport: Transport, hertz: f64) -> Self {
        let dir = dir.join(user);
        let heard = dir.join("heard");
        fs::create_dir_all(&heard).expect("the telephone's directory");
        let played = dir.join("played.wav");
        tone::write(&played, hertz, 60).expect("the telephone's tone");
        let parameter = transport_parameter(transport);
        let account = format!(
            "<sip:{user}@127.0.0.1:{port}{parameter}>;regint=0;answermode=auto;audio_codecs=PCMA,PCMU\n"
        );
        let config = format!(
            "poll_method epoll\nsip_listen 127.0.0.1:{port}\nnet_interface 127.0.0.1\n\
             rtp_ports {rtp}-{}\ncall_local_timeout 60\ncall_max_calls 4\n\
             audio_source aufile,{}\naudio_player aubridge,{user}\naudio_alert aubridge,{user}-alert\n\
             ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\nsnd_path {}\n\
             module_path {MODULES}\nmodule aufile.so\nmodule aubridge.so\nmodule sndfile.so\nmodule g711.so\n\
             module_app account.so\nmodule_app menu.so\n",
            rtp + 20,
            played.display(),
            heard.display()
        );
        for (name, text) in [("config", config), ("accounts", account), ("contacts", String::new())] {
            fs::write(dir.join(name), text).expect("the telephone's configuration");
        }
        Self { user: user.to_owned(), port, transport, dir, process: None }
    }

    /// Lets it register at `registrar`, for so many seconds, with its name and this password.
    ///
    /// # Panics
    /// When its configuration can't be written.
    pub fn registers(&self, registrar: &str, password: &str, seconds: u32) {
        let (user, parameter) = (&self.user, transport_parameter(self.transport));
        let account = format!(
            "<sip:{user}@{registrar}{parameter}>;auth_user={user};auth_pass={password};regint={seconds};\
             answermode=auto;audio_codecs=PCMA,PCMU\n"
        );
        fs::write(self.dir.join("accounts"), account).expect("the telephone's account");
    }

    /// Lets it secure its media: `srtp` where the other side can, `srtp-mand` always.
    ///
    /// # Panics
    /// When its configuration can't be written.
    pub fn secures(&mut self, how: &str) {
        self.configure("module srtp.so");
        let path = self.dir.join("accounts");
        let known = fs::read_to_string(&path).expect("the telephone's account");
        fs::write(path, format!("{};mediaenc={how}\n", known.trim_end())).expect("the telephone's account");
    }

    /// Lets it believe the authority in this file.
    ///
    /// # Panics
    /// When its configuration can't be written.
    pub fn believes(&self, authority: &Path) {
        self.configure(&format!("sip_cafile {}", authority.display()));
    }

    /// Lets it show the certificate in this file, where it is dialled over TLS.
    ///
    /// # Panics
    /// When its configuration can't be written.
    pub fn shows(&self, certificate: &Path) {
        self.configure(&format!("sip_certificate {}", certificate.display()));
    }

    fn configure(&self, line: &str) {
        let path = self.dir.join("config");
        let known = fs::read_to_string(&path).expect("the telephone's configuration");
        fs::write(path, format!("{known}{line}\n")).expect("the telephone's configuration");
    }

    /// Its own address, as a delivery target. It listens for TLS at the next port.
    pub fn uri(&self) -> String {
        let port = self.port + u16::from(self.transport == Transport::Tls);
        format!("sip:{}@127.0.0.1:{port}{}", self.user, transport_parameter(self.transport))
    }

    /// Waits for calls.
    ///
    /// # Panics
    /// When baresip is not installed or does not become ready.
    pub fn start(&mut self) {
        self.run(&[]);
        let user = self.user.clone();
        wait::until(&format!("telephone {user} is ready"), PATIENCE, || {
            self.output().contains("baresip is ready")
        });
    }

    /// Calls `number` at the node that listens at `target`, and hangs up after `seconds`.
    ///
    /// # Panics
    /// When baresip is not installed.
    pub fn call(&mut self, number: &str, target: &str, seconds: u32) {
        let uri = format!("/dial sip:{number}@{target}{}", transport_parameter(self.transport));
        // The duration counts from the start of the program; setting the call up takes milliseconds.
        self.run(&["-t", &seconds.to_string(), "-e", &uri]);
    }

    /// Waits for the end of a telephone that calls.
    ///
    /// # Panics
    /// With its last words when it does not end.
    pub fn finish(&mut self, patience: Duration) {
        let ended = self.process.as_mut().and_then(|process| process.wait(patience));
        assert!(ended.is_some(), "telephone {} did not end:\n{}", self.user, self.words());
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.as_mut() {
            process.signal(rustix::process::Signal::TERM);
            if process.wait(PATIENCE).is_none() {
                process.kill();
            }
        }
    }

    /// The longest recording of what it heard.
    pub fn heard(&self) -> Vec<i16> {
        self.recordings().max_by_key(Vec::len).unwrap_or_default()
    }

    fn recordings(&self) -> impl Iterator<Item = Vec<i16>> {
        let entries = fs::read_dir(self.dir.join("heard")).into_iter().flatten().flatten();
        let recordings =
            entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with("-dec.wav"));
        recordings.filter_map(|path| tone::read(&path).ok())
    }

    /// For how many tenths of a second it heard a tone, over all its recordings: a session that changes may begin
    /// another one.
    pub fn tenths_heard(&self, hertz: f64) -> usize {
        self.recordings().map(|samples| tone::tenths_heard(&samples, hertz)).sum()
    }

    /// Its last words without the running bit rates.
    pub fn words(&self) -> String {
        let output = self.output();
        let lines: Vec<_> = output.lines().filter(|line| !line.contains("(bit/s)")).collect();
        lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
    }

    fn run(&mut self, arguments: &[&str]) {
        let log = self.dir.join("output");
        let mut command = Command::new("baresip");
        command.arg("-v").arg("-f").arg(&self.dir).args(arguments).current_dir(&self.dir);
        let process = Process::start(&mut command, &log);
        self.process = Some(process.expect("baresip starts; install it with `apt-get install baresip-core`"));
    }

    fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }
}

fn transport_parameter(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
/// Where Debian keeps them.
const MODULES: &str = "/usr/lib/baresip/modules";
