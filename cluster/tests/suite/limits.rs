//! Limits against a model that counts naïvely: never above, and never a refusal while there is room.

use std::collections::BTreeMap;

use call::Outcome as Call;
use proptest::prelude::*;
use trunk::Scope;

use crate::support::{Bench, admit, end, gateway, name, trunk};

#[derive(Clone, Debug)]
enum Step {
    Admit { trunk: u8, gateways: Vec<u8>, emergency: bool },
    End(u8),
    Limit { trunk: u8, concurrent: u8, per_minute: u8 },
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2u8, proptest::collection::vec(0..3u8, 1..3), proptest::bool::weighted(0.05))
            .prop_map(|(trunk, gateways, emergency)| Step::Admit { trunk, gateways, emergency }),
        4 => any::<u8>().prop_map(Step::End),
        1 => (0..2u8, 1..5u8, 1..8u8)
            .prop_map(|(trunk, concurrent, per_minute)| Step::Limit { trunk, concurrent, per_minute }),
        2 => (0..30_000u16).prop_map(Step::Wait),
    ]
}

/// What the model knows: live calls with their scopes, and all admissions.
#[derive(Default)]
struct Model {
    live: BTreeMap<u64, (usize, usize, bool)>,
    admitted: Vec<(u64, usize)>,
    concurrent: [usize; 2],
    per_minute: [usize; 2],
}

impl Model {
    fn trunk_used(&self, trunk: usize) -> usize {
        self.live.values().filter(|(own, _, _)| *own == trunk).count()
    }

    fn gateway_used(&self, gateway: usize) -> usize {
        self.live.values().filter(|(_, own, _)| *own == gateway).count()
    }

    fn expect(&self, now: u64, trunk: usize, gateways: &[u8], emergency: bool) -> Option<usize> {
        if emergency {
            return Some(0);
        }
        let lately = self.admitted.iter().filter(|(at, own)| *own == trunk && at + 60_000 > now).count();
        if lately >= self.per_minute[trunk] || self.trunk_used(trunk) >= self.concurrent[trunk] {
            return None;
        }
        // Gateway n carries n + 1 calls.
        gateways.iter().position(|g| self.gateway_used(usize::from(*g)) < usize::from(*g) + 1)
    }
}

fn name_of(kind: &str, n: usize) -> String {
    format!("{kind}{n}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn limits_hold_exactly(steps in proptest::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new();
        let mut model = Model { concurrent: [2, 4], per_minute: [100, 6], ..Model::default() };
        let put = |bench: &mut Bench, model: &Model| {
            let trunks = (0..2).map(|n| trunk(&name_of("t", n), |t| {
                t.settings.limits.concurrent = Some(model.concurrent[n] as u32);
                t.settings.limits.per_minute = Some(model.per_minute[n] as u32);
            }));
            let gateways = (0..3).map(|n| gateway(&name_of("g", n), Some(n as u32 + 1)));
            bench.put(trunks.chain(gateways).collect());
        };
        put(&mut bench, &model);
        let mut next = 0;
        for step in steps {
            match step {
                Step::Wait(ms) => bench.time += u64::from(ms),
                // The ring remembers as many as the limit that stood when they were admitted: only lower it.
                Step::Limit { trunk, concurrent, per_minute } => {
                    let trunk = usize::from(trunk);
                    model.concurrent[trunk] = usize::from(concurrent);
                    model.per_minute[trunk] = model.per_minute[trunk].min(usize::from(per_minute));
                    put(&mut bench, &model);
                }
                Step::End(which) => {
                    let ended = model.live.keys().copied().nth(usize::from(which) % model.live.len().max(1));
                    if let Some(call) = ended {
                        model.live.remove(&call);
                        prop_assert_eq!(bench.call(call, end(487, 1_800_000_000_500)), Call::Done);
                    }
                }
                Step::Admit { trunk, gateways, emergency } => {
                    next += 1;
                    let names: Vec<_> = gateways.iter().map(|g| name_of("g", usize::from(*g))).collect();
                    let names: Vec<_> = names.iter().map(String::as_str).collect();
                    let mut wanted = admit(next, &name_of("t", usize::from(trunk)), &names);
                    (wanted.emergency, wanted.plan.emergency) = (emergency, emergency);
                    let expected = model.expect(bench.time, usize::from(trunk), &gateways, emergency);
                    match (bench.admit(wanted), expected) {
                        (Call::Target(target), Some(chosen)) => {
                            prop_assert_eq!(usize::from(target), chosen);
                            let gateway = usize::from(gateways[chosen]);
                            model.live.insert(next, (usize::from(trunk), gateway, emergency));
                            if !emergency {
                                model.admitted.push((bench.time, usize::from(trunk)));
                            }
                        }
                        (Call::Limited(_), None) => {}
                        (outcome, expected) => prop_assert!(false, "{outcome:?}, expected {expected:?}"),
                    }
                }
            }
            for n in 0..2 {
                let used = bench.used(&Scope::Trunk(name(&name_of("t", n))));
                prop_assert_eq!(used as usize, model.trunk_used(n));
            }
            prop_assert!(bench.state.is_consistent());
        }
        let left: Vec<u64> = model.live.keys().copied().collect();
        for call in left {
            bench.call(call, end(487, 1_800_000_000_500));
        }
        prop_assert_eq!(bench.state.slots().count(), 0);
        // One CDR for every call that was admitted or refused.
        prop_assert_eq!(bench.state.cdrs_made(), next);
    }
}
