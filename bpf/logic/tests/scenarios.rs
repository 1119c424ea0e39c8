//! Every scenario over memory alone.

use skein_bpf_logic::testing::{InMemory, sample, scenarios};

#[test]
fn every_scenario_holds_in_memory() {
    for (name, scenario) in scenarios::all() {
        println!("{name}");
        scenario(&mut InMemory(sample::node()));
    }
}
