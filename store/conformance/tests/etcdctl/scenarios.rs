//! What is played. `REV+n` is the n-th revision of the scenario, `LEASE` the last granted lease,
//! `EMPTY` an empty argument.

/// One command.
pub(crate) enum Step {
    /// Runs to its end.
    Run(&'static str),
    /// The same, with this on its standard input.
    Input(&'static str, &'static str),
    /// Runs beside the following steps, and is ended behind them.
    Listen(&'static str),
}

#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) steps: &'static [Step],
    /// Whether every number of the output is a measure that differs.
    pub(crate) numbers: bool,
    /// Flags of stores of its own, for what would be in the way of other scenarios.
    pub(crate) alone: Option<&'static [&'static str]>,
}

use Step::{Input, Listen, Run};

const fn equal(name: &'static str, steps: &'static [Step]) -> Scenario {
    Scenario { name, steps, numbers: false, alone: None }
}

const fn measures(name: &'static str, steps: &'static [Step]) -> Scenario {
    Scenario { name, steps, numbers: true, alone: None }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    equal(
        "put and get",
        &[
            Run("put a 1"),
            Run("get a"),
            Run("get a -w fields"),
            Run("get a -w json"),
            Run("get missing"),
            Run("get missing -w json"),
            Run("get a --print-value-only"),
            Run("get a --keys-only"),
            Run("get a --count-only -w fields"),
            Input("put from-stdin", "typed in"),
            Run("get from-stdin"),
        ],
    ),
    equal(
        "put with options",
        &[
            Run("put a 1"),
            Run("put a 2 --prev-kv"),
            Run("put a --ignore-value"),
            Run("put missing --ignore-value"),
            Run("put a 3 --ignore-lease"),
            Run("put a 1 --lease=4d2"),
            Run("put EMPTY 1"),
            Run("get a -w fields"),
        ],
    ),
    equal(
        "get of ranges",
        &[
            Run("put a 1"),
            Run("put ab 4"),
            Run("put b 3"),
            Run("put c 2"),
            Run("get a c"),
            Run("get --prefix a"),
            Run("get --from-key b"),
            Run("get --prefix EMPTY --keys-only"),
            Run("get --prefix EMPTY --limit=2 -w json"),
            Run("get --prefix EMPTY --sort-by=VALUE --order=DESCEND"),
            Run("get --prefix EMPTY --sort-by=CREATE --order=DESCEND --limit=1"),
            Run("get --prefix EMPTY --rev=REV+2"),
            Run("get a --rev=100000"),
            Run("get --prefix EMPTY --consistency=s"),
            Run("get --prefix EMPTY --stream"),
            Run("get --prefix EMPTY --min-mod-rev=REV+3"),
        ],
    ),
    equal(
        "del",
        &[
            Run("put a 1"),
            Run("put b 2"),
            Run("put c 3"),
            Run("del a --prev-kv"),
            Run("del a"),
            Run("del b z -w fields"),
            Run("put p/1 1"),
            Run("put p/2 1"),
            Run("del --prefix p/ --prev-kv"),
            Run("del --from-key EMPTY"),
            Run("del EMPTY"),
        ],
    ),
    equal(
        "txn",
        &[
            Run("put a 1"),
            Input("txn", "value(\"a\") = \"1\"\n\nput a 2\nget a\n\nput b never\n\n"),
            Input("txn", "mod(\"a\") < \"2\"\nversion(\"b\") = \"0\"\n\n\nget a\ndel a\n\n"),
            Input("txn", "create(\"a\") = \"0\"\n\nput a 1\nput a 2\n\n\n"),
            Input("txn -w json", "version(\"a\") = \"0\"\n\nput a 1\n\n\n"),
            Run("get --prefix EMPTY -w fields"),
        ],
    ),
    equal(
        "compaction",
        &[
            Run("put a 1"),
            Run("put a 2"),
            Run("put a 3"),
            Run("compaction REV+2"),
            Run("compaction REV+2"),
            Run("compaction 100000"),
            Run("get a --rev=REV+1"),
            Run("get a --rev=REV+2"),
            Run("compaction REV+3 --physical"),
            Run("watch a --rev=1"),
        ],
    ),
    equal(
        "watch",
        &[
            Listen("watch --prefix w --prev-kv"),
            Run("put w1 1"),
            Run("put x no"),
            Run("put w1 2"),
            Run("del w1"),
            Input("txn", "\nput w2 1\nput w1 3\n\n\n"),
        ],
    ),
    equal(
        "watch from a revision",
        &[
            Run("put a 1"),
            Run("put a 2"),
            Run("put b 1"),
            Listen("watch --prefix EMPTY --rev=REV+2 -w json"),
            Run("put a 3"),
        ],
    ),
    equal("watch with progress", &[Listen("watch a --progress-notify"), Run("put a 1")]),
    equal(
        "lease",
        &[
            Run("lease grant 600"),
            Run("put a 1 --lease=LEASE"),
            // With one key attached: of several, etcd tells them in no order.
            Run("lease timetolive LEASE --keys -w fields"),
            Run("put b 1 --lease=LEASE"),
            Run("lease keep-alive --once LEASE"),
            Run("lease list"),
            Run("get a -w fields"),
            Run("lease revoke LEASE"),
            Run("lease revoke LEASE"),
            Run("lease timetolive LEASE"),
            Run("lease keep-alive --once LEASE"),
            Run("lease list"),
            Run("get --prefix EMPTY"),
        ],
    ),
    equal("lock runs its command", &[Run("lock name echo held"), Run("get --prefix name")]),
    equal(
        "elect holds its proposal",
        &[Listen("elect name first"), Run("get --prefix name/ --print-value-only")],
    ),
    measures("endpoint health", &[Run("endpoint health")]),
    measures("endpoint status", &[Run("endpoint status"), Run("endpoint status --cluster")]),
    measures("endpoint hashkv", &[Run("put a 1"), Run("endpoint hashkv")]),
    measures("member list", &[Run("member list"), Run("member list -w fields")]),
    equal("alarm", &[Run("alarm list"), Run("alarm disarm")]),
    measures("defrag", &[Run("put a 1"), Run("defrag"), Run("get a")]),
    equal("auth is off", &[Run("auth status"), Run("get a --user=root:x")]),
    measures("snapshot save", &[Run("put a 1"), Run("snapshot save store.db")]),
];
