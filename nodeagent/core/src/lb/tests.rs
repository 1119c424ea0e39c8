use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::fake::{FakeKernel, Operation, Walk, operations, stage_operations};

fn name(n: u8) -> ObjectName {
    ObjectName::new("shop", format!("s{n}"))
}

fn vip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, n)
}

fn frontend(n: u8, port: u16) -> Frontend {
    Frontend { addr: vip(n), port, proto: Proto::TCP, scope: Scope::Cluster }
}

fn backend(n: u8, port: u16) -> Backend {
    Backend { addr: Ipv4Addr::new(10, 0, 0, n), port, proto: Proto::TCP }
}

fn service(vips: &[u8], ports: &[u16], backends: &[u8]) -> DesiredService {
    let list = |port: u16| {
        let key = ListName { port, proto: Proto::TCP, scope: Scope::Cluster };
        let frontends = vips.iter().map(|n| frontend(*n, port)).collect();
        let backends = backends.iter().map(|n| backend(*n, port + 8000)).collect();
        (key, DesiredList { frontends, backends })
    };
    DesiredService {
        vips: vips.iter().map(|n| vip(*n)).collect(),
        lists: ports.iter().map(|port| list(*port)).collect(),
    }
}

/// Carries a plan out operation by operation and looks for holes after each.
fn carry_out(balancer: &mut Balancer, kernel: &mut FakeKernel, plan: &Plan) {
    for operation in operations(plan) {
        kernel.apply(operation);
        assert_eq!(kernel.first_hole(), None, "after {operation:?} of {plan:#?}");
    }
    balancer.commit(plan);
    assert_eq!(balancer.actual(), &kernel.tables);
}

/// Rounds as the agent makes them: what is pending, then leftovers, and once more what had to wait
/// for those.
fn settle(balancer: &mut Balancer, kernel: &mut FakeKernel) {
    for _ in 0..2 {
        let plan = balancer.plan(true);
        carry_out(balancer, kernel, &plan);
        let sweep = balancer.plan_sweep();
        carry_out(balancer, kernel, &sweep);
    }
    assert!(balancer.plan(true).is_empty() && balancer.pending().is_empty());
}

/// What packets meet, by frontend: the meaning of the tables without their ids.
fn meaning(kernel: &FakeKernel) -> BTreeMap<Frontend, Walk> {
    kernel.tables.frontends().keys().map(|key| (*key, kernel.walk(key))).collect()
}

#[test]
fn a_service_appears_changes_and_vanishes() {
    let (mut balancer, mut kernel) = (Balancer::default(), FakeKernel::default());
    balancer.want(&name(1), Some(service(&[1], &[80], &[1, 2, 3])));
    settle(&mut balancer, &mut kernel);
    let three = (1..4).map(|n| backend(n, 8080)).collect();
    assert_eq!(kernel.walk(&frontend(1, 80)), Walk::Backends(three));
    assert_eq!(kernel.walk(&Frontend::wildcard(vip(1))), Walk::Refused);

    balancer.want(&name(1), Some(service(&[1], &[80], &[2])));
    let plan = balancer.plan(true);
    assert_eq!((plan.write_slots.len(), plan.delete_slots.len()), (1, 2), "{plan:?}");
    carry_out(&mut balancer, &mut kernel, &plan);

    balancer.want(&name(1), Some(service(&[1], &[80], &[])));
    settle(&mut balancer, &mut kernel);
    assert_eq!(kernel.walk(&frontend(1, 80)), Walk::Refused);

    balancer.want(&name(1), None);
    settle(&mut balancer, &mut kernel);
    assert_eq!(kernel.tables, Tables::default());
}

#[test]
fn ids_survive_a_restart_and_change_nothing_then() {
    let (mut balancer, mut kernel) = (Balancer::default(), FakeKernel::default());
    for n in 1..5 {
        balancer.want(&name(n), Some(service(&[n], &[80, 443], &[n, n + 1])));
    }
    settle(&mut balancer, &mut kernel);
    let mut restarted = Balancer::default();
    for n in (1..5).rev() {
        restarted.want(&name(n), Some(service(&[n], &[80, 443], &[n, n + 1])));
    }
    restarted.load(kernel.tables.clone());
    assert!(restarted.plan(true).is_empty());
    assert!(restarted.plan_sweep().is_empty());
}

#[test]
fn nothing_is_deleted_before_the_view_is_complete_and_leftovers_go_after() {
    let (mut balancer, mut kernel) = (Balancer::default(), FakeKernel::default());
    balancer.want(&name(1), Some(service(&[1], &[80], &[1, 2])));
    balancer.want(&name(2), Some(service(&[2], &[80], &[3])));
    settle(&mut balancer, &mut kernel);
    let mut restarted = Balancer::default();
    restarted.load(kernel.tables.clone());
    restarted.want(&name(1), Some(service(&[1], &[80], &[1])));
    restarted.want(&name(3), Some(service(&[3], &[80], &[5])));
    let plan = restarted.plan(false);
    carry_out(&mut restarted, &mut kernel, &plan);
    let both = vec![backend(1, 8080), backend(2, 8080)];
    assert_eq!(kernel.walk(&frontend(1, 80)), Walk::Backends(both), "what is there may be newer");
    assert_eq!(kernel.walk(&frontend(3, 80)), Walk::Backends(vec![backend(5, 8080)]));
    assert_eq!(kernel.walk(&frontend(2, 80)), Walk::Backends(vec![backend(3, 8080)]));
    settle(&mut restarted, &mut kernel);
    assert_eq!(kernel.walk(&frontend(1, 80)), Walk::Backends(vec![backend(1, 8080)]));
    assert_eq!(kernel.walk(&frontend(2, 80)), Walk::NotAService);
    assert_eq!(kernel.tables.backends().len(), 2);
}

#[test]
fn one_address_wanted_twice_goes_to_the_first_by_name_and_falls_to_the_other() {
    let (mut balancer, mut kernel) = (Balancer::default(), FakeKernel::default());
    balancer.want(&name(2), Some(service(&[1], &[80], &[2])));
    settle(&mut balancer, &mut kernel);
    balancer.want(&name(1), Some(service(&[1], &[80], &[1])));
    settle(&mut balancer, &mut kernel);
    assert_eq!(kernel.walk(&frontend(1, 80)), Walk::Backends(vec![backend(1, 8080)]));
    balancer.want(&name(1), None);
    settle(&mut balancer, &mut kernel);
    assert_eq!(kernel.walk(&frontend(1, 80)), Walk::Backends(vec![backend(2, 8080)]));
}

#[test]
fn planning_one_by_one_leaves_no_hole_when_an_address_moves() {
    let (mut balancer, mut kernel) = (Balancer::default(), FakeKernel::default());
    balancer.want(&name(1), Some(service(&[1], &[80], &[1])));
    settle(&mut balancer, &mut kernel);
    balancer.want(&name(2), Some(service(&[1], &[80], &[2])));
    balancer.want(&name(1), None);
    for service in [name(1), name(2), name(1)] {
        let plan = balancer.plan_one(&service, true);
        carry_out(&mut balancer, &mut kernel, &plan);
    }
    settle(&mut balancer, &mut kernel);
    assert_eq!(kernel.walk(&frontend(1, 80)), Walk::Backends(vec![backend(2, 8080)]));
}

#[derive(Clone, Debug)]
enum Step {
    Want(u8, Vec<u8>, Vec<u16>, Vec<u8>),
    Gone(u8),
    Round,
    RoundOneByOne,
    FailedRound(usize),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = |max: u8| {
        proptest::collection::btree_set(1..max, 0..4)
            .prop_map(|s| s.into_iter().collect::<Vec<u8>>())
    };
    let ports = proptest::collection::btree_set(prop_oneof![Just(80u16), Just(443)], 0..3)
        .prop_map(|s| s.into_iter().collect::<Vec<u16>>());
    let step = prop_oneof![
        6 => (1u8..5, some(5), ports, some(9)).prop_map(|(n, v, p, b)| Step::Want(n, v, p, b)),
        2 => (1u8..5).prop_map(Step::Gone),
        3 => Just(Step::Round),
        1 => Just(Step::RoundOneByOne),
        1 => (0usize..12).prop_map(Step::FailedRound),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_packet_meets_a_hole_and_the_end_depends_on_the_wants_alone(steps in steps()) {
        let (mut balancer, mut kernel) = (Balancer::default(), FakeKernel::default());
        let mut wants: BTreeMap<ObjectName, DesiredService> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Want(n, vips, ports, backends) => {
                    let desired = service(&vips, &ports, &backends);
                    wants.insert(name(n), desired.clone());
                    balancer.want(&name(n), Some(desired));
                }
                Step::Gone(n) => {
                    wants.remove(&name(n));
                    balancer.want(&name(n), None);
                }
                Step::Round => {
                    let plan = balancer.plan(true);
                    carry_out(&mut balancer, &mut kernel, &plan);
                }
                Step::RoundOneByOne => {
                    for name in balancer.pending().clone() {
                        let plan = balancer.plan_one(&name, true);
                        carry_out(&mut balancer, &mut kernel, &plan);
                    }
                }
                Step::FailedRound(after) => {
                    let plan = balancer.plan(true);
                    operations(&plan).into_iter().take(after).for_each(|op| kernel.apply(op));
                    prop_assert_eq!(kernel.first_hole(), None);
                    balancer.load(kernel.tables.clone());
                }
                Step::Restart => {
                    let (services, backends) = balancer.next_ids();
                    balancer = Balancer::new(services, backends);
                    balancer.load(kernel.tables.clone());
                    for (name, desired) in &wants {
                        balancer.want(name, Some(desired.clone()));
                    }
                }
            }
        }
        settle(&mut balancer, &mut kernel);
        let (mut fresh, mut other) = (Balancer::default(), FakeKernel::default());
        for (name, desired) in wants.iter().rev() {
            fresh.want(name, Some(desired.clone()));
        }
        settle(&mut fresh, &mut other);
        prop_assert_eq!(meaning(&kernel), meaning(&other));
        prop_assert_eq!(kernel.tables.backends().len(), other.tables.backends().len());
        prop_assert_eq!(kernel.tables.slots().len(), other.tables.slots().len());
        let meanings: BTreeSet<_> = kernel.tables.backends().values().collect();
        prop_assert_eq!(meanings.len(), kernel.tables.backends().len());
    }

    /// The order inside a stage is free: batches may be cut and sorted as the edge likes.
    #[test]
    fn inside_a_stage_any_order_will_do(
        before in proptest::collection::btree_set(1u8..9, 0..6),
        after in proptest::collection::btree_set(1u8..9, 0..6),
        seed in any::<u64>(),
    ) {
        let list = |set: &BTreeSet<u8>| set.iter().copied().collect::<Vec<_>>();
        let (mut balancer, mut kernel) = (Balancer::default(), FakeKernel::default());
        balancer.want(&name(1), Some(service(&[1, 2], &[80, 443], &list(&before))));
        settle(&mut balancer, &mut kernel);
        balancer.want(&name(1), Some(service(&[1, 2], &[80, 443], &list(&after))));
        let plan = balancer.plan(true);
        for stage in Stage::ALL {
            let mut operations: Vec<Operation> = stage_operations(&plan, stage);
            let turn = if operations.is_empty() { 0 } else { seed as usize % operations.len() };
            operations.rotate_left(turn);
            if seed % 2 == 0 {
                operations.reverse();
            }
            for operation in operations {
                kernel.apply(operation);
                prop_assert_eq!(kernel.first_hole(), None);
            }
        }
    }
}
