//! Leases and evictions among several nodes: two never speak, and silence ends.

use call::{Incarnation, NodeId};
use cluster::Cluster;

use crate::several::Nodes;
use crate::support::{pause, virtually};

fn counts(seen_by: &Cluster, node: &Cluster) -> bool {
    let (id, life) = (node.node(), node.booted().incarnation);
    seen_by.read(|state| state.is_alive(id, life))
}

/// Waits for something; gives how many milliseconds it took.
async fn until(what: impl Fn() -> bool, most_ms: u64) -> u64 {
    for ms in 0..most_ms {
        if what() {
            return ms;
        }
        pause(1).await;
    }
    panic!("not within {most_ms} ms")
}

#[test]
fn every_node_may_speak_soon_after_it_has_booted() {
    virtually(|| async {
        let nodes = Nodes::found(80, 3).await;
        for id in 1..=3 {
            until(|| nodes.node(id).may_speak(), 100).await;
        }
        // And stays so while nothing happens.
        for _ in 0..1000 {
            pause(1).await;
            assert!((1..=3).all(|id| nodes.node(id).may_speak()));
        }
        assert!((1..=3).all(|id| nodes.node(id).standing().stalls == 0));
    });
}

#[test]
fn an_isolated_node_is_silent_before_it_is_evicted_and_comes_back() {
    virtually(|| async {
        for lone in 1..=3 {
            let nodes = Nodes::found(80 + lone, 3).await;
            nodes.leader().await;
            pause(200).await;
            let (alone, other) = (nodes.node(lone), nodes.node(lone % 3 + 1));
            assert!(alone.may_speak() && counts(other, alone));
            nodes.net.isolate(lone);
            let silent = until(|| !alone.may_speak(), 251).await;
            assert!(counts(other, alone));
            // Half a second of silence; a new leader has its own election to wait for first.
            let evicted = silent + until(|| !counts(other, alone), 700).await;
            assert!((450..800).contains(&evicted), "{evicted}");
            assert!(!alone.may_speak() && counts(alone, alone));
            let homes =
                other.read(|it| it.homes().filter(|(_, home)| home.holder == Some(NodeId(lone))).count());
            assert_eq!(homes, 0);
            pause(500).await;
            nodes.net.heal();
            until(|| counts(other, alone) && alone.may_speak(), 1000).await;
            nodes.agree().await;
        }
    });
}

#[test]
fn when_the_leader_dies_the_others_are_silent_for_a_blink_at_most() {
    virtually(|| async {
        let mut blinks = Vec::new();
        for seed in 90..98 {
            let mut nodes = Nodes::found(seed, 3).await;
            let dead = nodes.leader().await;
            pause(200).await;
            let life: Incarnation = nodes.node(dead).booted().incarnation;
            nodes.kill(dead);
            let (a, b) = (nodes.node(dead % 3 + 1).clone(), nodes.node((dead + 1) % 3 + 1).clone());
            let (mut blink, mut evicted) = (0, None);
            for ms in 0..1500 {
                blink += u64::from(!a.may_speak()) + u64::from(!b.may_speak());
                if evicted.is_none() && !a.read(|state| state.is_alive(NodeId(dead), life)) {
                    evicted = Some(ms);
                }
                pause(1).await;
            }
            assert!(evicted.is_some_and(|ms| (450..700).contains(&ms)), "{evicted:?}");
            blinks.push(blink);
        }
        assert!(blinks.iter().all(|ms| *ms < 100), "{blinks:?}");
    });
}
