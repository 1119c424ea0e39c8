//! Scenarios: how many members, and which faults chance may choose from.

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A partition of any shape.
    Partition,
    /// Messages get lost, late, doubled, out of order.
    Weather,
    /// Clients lose a member that peers still reach.
    ClientsCut,
    /// A member stands still.
    Pause,
    /// A process ends and starts again.
    Kill,
    /// Power of one member is lost.
    PowerCut,
    /// Power of all members is lost.
    Blackout,
    /// A member stops in the middle of a disk operation, with or without its power.
    StopInWrite,
    /// Syncs take long.
    SlowDisk,
    /// A sync fails.
    SyncFails,
    /// No space is left.
    DiskFull,
    /// A member is replaced by another with an empty disk.
    Replace,
    /// A bit of something durable flips, on one member at most.
    BitFlip,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// By this name it is asked for.
    pub name: &'static str,
    /// What can go wrong.
    pub faults: &'static [Fault],
    /// Members of the cluster.
    pub members: u64,
}

use Fault::*;

/// All of them; a seed plays the one of its number modulo their count.
pub const ALL: &[Scenario] = &[
    Scenario { name: "calm", faults: &[], members: 3 },
    Scenario { name: "weather", faults: &[Weather], members: 3 },
    Scenario { name: "partitions", faults: &[Partition, ClientsCut], members: 5 },
    Scenario { name: "pauses", faults: &[Pause, Partition], members: 3 },
    Scenario { name: "kills", faults: &[Kill, Weather], members: 3 },
    Scenario { name: "power", faults: &[PowerCut, Blackout, StopInWrite], members: 3 },
    Scenario { name: "writes", faults: &[StopInWrite], members: 5 },
    Scenario { name: "disks", faults: &[SlowDisk, SyncFails, DiskFull, Kill], members: 3 },
    Scenario { name: "bits", faults: &[BitFlip, PowerCut, Partition], members: 5 },
    Scenario { name: "members", faults: &[Replace, Kill, Pause], members: 3 },
    Scenario { name: "members-5", faults: &[Replace, Partition, PowerCut, Weather], members: 5 },
    Scenario {
        name: "everything",
        faults: &[
            Partition,
            Weather,
            ClientsCut,
            Pause,
            Kill,
            PowerCut,
            Blackout,
            StopInWrite,
            SlowDisk,
            SyncFails,
            DiskFull,
            BitFlip,
            Replace,
        ],
        members: 5,
    },
    Scenario {
        name: "everything-3",
        faults: &[Partition, Weather, Pause, Kill, PowerCut, Blackout, StopInWrite, SlowDisk],
        members: 3,
    },
];

/// The scenario that a seed plays.
pub fn of_seed(seed: u64) -> &'static Scenario {
    &ALL[(seed % ALL.len() as u64) as usize]
}

/// The scenario of a name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
