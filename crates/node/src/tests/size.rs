//! What a quorum keeps of a call that is up: at most 2 KiB (architecture, Records).

use cluster::State;

use super::Bench;

#[tokio::test]
async fn a_confirmed_call_takes_at_most_two_kib_of_the_state() {
    let bench = Bench::start().await;
    let encoded =
        |state: &State| -> usize { state.clone().into_snapshot(Vec::new()).map(|it| it.len()).sum() };
    let empty = bench.node.cluster().read(encoded);
    let mut dialogs = Vec::new();
    for name in ["one", "two", "three", "four"] {
        dialogs.push(bench.answered(name).await);
    }
    let all_acknowledged = || {
        let acked = |record: &call::CallRecord| matches!(&record.phase, call::Phase::Answered { acked, .. } if *acked);
        bench.node.cluster().read(|state| state.calls().filter(|record| acked(record)).count())
    };
    bench.until("all ACKs are recorded", || all_acknowledged() == dialogs.len()).await;
    let each = (bench.node.cluster().read(encoded) - empty) / dialogs.len();
    assert!((500..=2048).contains(&each), "{each} bytes");
    for dialog in &dialogs {
        bench.hang_up(dialog).await;
    }
}
