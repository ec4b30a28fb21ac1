//! Emergency calls where no majority can be reached: the node's own address carries them, from INVITE to BYE, with audio; what
//! became of them is on record when the others are back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use peer::Mix;
use peer::load::{LoadArgs, Progress, Report, run_with};
use tests::orders::{NUMBER, office};
use tests::trio::{Setup, Trio};
use tests::wait;

const DETECT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// Contract, "One call"; I-27, I-33. One call begins and ends while the node is alone, one begins alone and ends with the
/// others; a call to another number is refused meanwhile (the twin).
#[test]
fn t20_an_emergency_call_needs_no_majority() {
    let setup = Setup { detect: DETECT, ..Setup::default() };
    let mut trio = Trio::start(&setup, |trio| office(trio) + &emergency(trio));
    let alone = 1;
    let own = trio.node(alone).sip();
    for id in [2, 3] {
        trio.node_mut(id).kill();
    }
    wait::until("the majority is missed", PATIENCE, || !trio.node(alone).ready());

    let short = Emergency::call(&trio, own, 2.0).end();
    assert!(short.rtp.received > 50 && short.rtp.longest_gap_ms < 1_000.0, "{:?}", short.rtp);
    let (_, other) = load(LoadArgs { listen: trio.peer(211), ..call(own, NUMBER, 1.0) });
    let other = other.join().expect("the load ends");
    assert_eq!(other.failed.get("503"), Some(&1), "only emergency calls need no majority: {other:?}");

    let long = Emergency::call(&trio, own, 12.0);
    wait::until("the call is up", PATIENCE, || long.progress.answered.load(Ordering::Relaxed) == 1);
    for id in [2, 3] {
        trio.node_mut(id).start();
    }
    wait::until("a majority is back", PATIENCE, || trio.node(alone).ready());
    let long = long.end();
    assert!(long.rtp.longest_gap_ms < 2_000.0, "{:?}", long.rtp);

    let records = trio.settle(3);
    let of = |number: &str, status: u64| {
        records.iter().filter(|it| (it.text("to"), it.status()) == (number, status)).count()
    };
    assert_eq!((of("112", 200), of(NUMBER, 503), records.len()), (2, 1, 3), "{records:?}");
    trio.assert_no_panic();
}

/// An emergency call of a telephone, and who answers it.
struct Emergency {
    progress: Arc<Progress>,
    caller: JoinHandle<Report>,
    callee: JoinHandle<Report>,
}

impl Emergency {
    fn call(trio: &Trio, own: SocketAddr, hold_s: f64) -> Emergency {
        // Audio is told apart by the run: both ends are of one.
        let run = Some(RUN.fetch_add(1, Ordering::Relaxed));
        let answered = LoadArgs { listen: psap(trio), run, calls: 0, awaits: 1, ..call(own, "112", hold_s) };
        let (_, callee) = load(answered);
        let (progress, caller) = load(LoadArgs { listen: trio.peer(210), run, ..call(own, "112", hold_s) });
        Emergency { progress, caller, callee }
    }

    /// Waits for its end, which must be in order; what the caller heard.
    fn end(self) -> Report {
        let report = self.caller.join().expect("the load ends");
        assert_eq!((report.answered, report.completed), (1, 1), "{report:?}");
        let callee = self.callee.join().expect("the load ends");
        assert_eq!(callee.received_answered, 1, "{callee:?}");
        report
    }
}

static RUN: AtomicU32 = AtomicU32::new(112_000);

/// Where emergency calls go.
fn psap(trio: &Trio) -> SocketAddr {
    trio.peer(203)
}

fn emergency(trio: &Trio) -> String {
    let psap = psap(trio);
    // The office's telephones are at addresses of their own.
    let networks: Vec<String> =
        [210, 211].iter().map(|last| format!("\"{}/32\"", trio.peer(*last).ip())).collect();
    format!(
        "[[gateway]]\nname = \"psap\"\ntargets = [\"sip:{psap}\"]\nnetworks = [\"{}/32\"]\nprefixes = [\"+999\"]\n\n\
         [[trunk]]\nname = \"telephones\"\ntenant = \"house\"\ndefault_caller_id = \"{NUMBER}\"\n\n[trunk.access]\n\
         networks = [{}]\nauth = [\"address\"]\n\n[emergency]\nnumbers = [\"112\"]\ngateways = [\"psap\"]\n",
        psap.ip(),
        networks.join(", "),
    )
}

fn call(target: SocketAddr, to: &str, hold_s: f64) -> LoadArgs {
    LoadArgs {
        calls: 1,
        to: to.to_owned(),
        from: NUMBER.to_owned(),
        media: true,
        mix: Mix { hold: Duration::from_secs_f64(hold_s), ..Mix::default() },
        ..LoadArgs::new(target, target)
    }
}

fn load(args: LoadArgs) -> (Arc<Progress>, JoinHandle<Report>) {
    let progress = Arc::new(Progress::default());
    let watched = progress.clone();
    (progress, thread::spawn(move || run_with(&args, &watched).expect("the load can be made")))
}
