//! Leases and evictions among several nodes: two never speak, and silence ends.

use std::collections::BTreeMap;

use call::{HomeId, Incarnation, NodeId};
use cluster::Cluster;
use machine::Rng;

use crate::homes::floating;
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

/// How long an eviction of a dead follower takes, from its death, when the leader hears of the death of `life`.
async fn evicted_after(seed: u64, word: impl Fn(Incarnation) -> Option<Incarnation>) -> u64 {
    let mut nodes = Nodes::found(seed, 3).await;
    let leader = nodes.leader().await;
    pause(200).await;
    let lone = leader % 3 + 1;
    let life = nodes.node(lone).booted().incarnation;
    nodes.kill(lone);
    let other = nodes.node(leader);
    if let Some(life) = word(life) {
        // Every node is told; that changes something where it leads.
        (1..=3).filter(|id| *id != lone).for_each(|id| nodes.node(id).died(NodeId(lone), life));
    }
    until(|| !other.read(|state| state.is_alive(NodeId(lone), life)), 1500).await
}

#[test]
fn a_guards_word_permits_eviction_at_once_and_nothing_but_silence_does_otherwise() {
    virtually(|| async {
        let told = evicted_after(310, Some).await;
        assert!(told < 40, "{told}");
        let untold = evicted_after(310, |_| None).await;
        assert!((400..800).contains(&untold), "{untold}");
        // The word on an earlier life, said again by whoever overheard it, says nothing of this one.
        let replayed = evicted_after(310, |life| Some(Incarnation(life.0 - 1))).await;
        assert!((400..800).contains(&replayed), "{replayed}");
    });
}

#[test]
fn followers_that_are_told_of_their_leaders_death_elect_and_evict_without_waiting() {
    virtually(|| async {
        let mut took = Vec::new();
        for (seed, is_told) in [(311, true), (312, true), (313, true), (311, false)] {
            let mut nodes = Nodes::found(seed, 3).await;
            let dead = nodes.leader().await;
            pause(200).await;
            let life = nodes.node(dead).booted().incarnation;
            nodes.kill(dead);
            let others = [dead % 3 + 1, (dead + 1) % 3 + 1];
            if is_told {
                others.iter().for_each(|id| nodes.node(*id).died(NodeId(dead), life));
            }
            let first = nodes.node(others[0]);
            took.push(until(|| !first.read(|state| state.is_alive(NodeId(dead), life)), 1500).await);
        }
        let [told @ .., untold] = took.as_slice() else { panic!("four rounds") };
        assert!(told.iter().all(|ms| *ms < 120), "{told:?}");
        assert!(*untold > 400, "{untold}");
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

/// Lets time pass; nobody speaks for a home for which another does. Gives how many ticks each home had a voice.
async fn listen(nodes: &Nodes, ms: u64, voices: &mut BTreeMap<HomeId, BTreeMap<NodeId, u64>>) {
    for _ in 0..ms {
        let mut speakers = BTreeMap::new();
        for cluster in nodes.all().filter(|cluster| cluster.may_speak()) {
            let id = cluster.node();
            for held in cluster.read(|state| state.held(id)) {
                assert_eq!(speakers.insert(held.home, id), None, "two speak for {:?}", held.home);
                *voices.entry(held.home).or_default().entry(id).or_default() += 1;
            }
        }
        pause(1).await;
    }
}

#[test]
fn two_nodes_never_speak_for_one_home_whatever_dies_or_is_cut_off() {
    virtually(|| async {
        let mut nodes = Nodes::found(140, 3).await;
        nodes.floating = (1..=3).map(|n| floating(&format!("f{n}"), &[])).collect();
        for id in 1..=3 {
            nodes.kill(id);
        }
        nodes.start_all().await;
        let (mut rng, mut voices) = (Rng::from_u64(141), BTreeMap::new());
        for _ in 0..20 {
            let id = rng.below(3) + 1;
            match rng.below(3) {
                0 => {
                    nodes.kill(id);
                    listen(&nodes, rng.below(1500), &mut voices).await;
                    nodes.start(id).await;
                }
                1 => {
                    nodes.net.isolate(id);
                    listen(&nodes, rng.below(2000), &mut voices).await;
                    nodes.net.heal();
                }
                _ => {
                    // It speaks and can't be answered.
                    nodes.net.deafen(id);
                    listen(&nodes, rng.below(2000), &mut voices).await;
                    nodes.net.heal();
                }
            }
            listen(&nodes, rng.below(800), &mut voices).await;
        }
        listen(&nodes, 1500, &mut voices).await;
        nodes.agree().await;
        // Floating homes did move, and all have somebody in the end.
        assert!(voices.values().any(|by| by.len() > 1), "{voices:?}");
        let orphans = nodes.node(1).read(|it| it.homes().filter(|(_, home)| home.holder.is_none()).count());
        assert_eq!(orphans, 0);
    });
}
