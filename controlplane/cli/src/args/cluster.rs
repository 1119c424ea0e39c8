//! What can be said about the members of the store.

use clap::{Args as ClapArgs, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Show them all
    List,
    /// Let a further member join; it is started afterwards, with the flags that this prints
    #[command(after_help = "\
Example: a fourth member, which first catches up without a vote
  skeinctl member add d --peer-urls http://10.0.0.4:2380 --learner
  skeinctl member promote 8e9e05c52164694d          once it has caught up

One member at a time: while the new one is not up, the store survives one failure less.")]
    Add {
        /// The --name that it will be started with
        name: String,
        /// Where the other members will reach it
        #[arg(long, required = true, value_delimiter = ',', value_name = "URL")]
        peer_urls: Vec<String>,
        /// Let it follow without a vote at first
        #[arg(long)]
        learner: bool,
    },
    /// Remove a member for good; its process stops, its data are of no more use
    Remove {
        #[arg(value_name = "ID", value_parser = member_id)]
        id: u64,
    },
    /// Let a learner vote; refused while it is too far behind
    Promote {
        #[arg(value_name = "ID", value_parser = member_id)]
        id: u64,
    },
    /// Tell the others where a member is reached from now on
    Update {
        #[arg(value_name = "ID", value_parser = member_id)]
        id: u64,
        /// Where the other members will reach it
        #[arg(long, required = true, value_delimiter = ',', value_name = "URL")]
        peer_urls: Vec<String>,
    },
}

/// Which endpoints a question is put to.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct Scope {
    /// Every member of the store, not only those named by --endpoints
    #[arg(long)]
    pub(crate) cluster: bool,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  skeinctl endpoint status --cluster               every member in a table
  skeinctl endpoint health --cluster               exit code 5 when one cannot serve
  skeinctl -o json endpoint hashkv --cluster --rev 1200

Every endpoint is asked by itself, also one that has lost the others. Exit code 5: an endpoint did
not answer or is not well; 4: none answered.")]
pub(crate) enum EndpointCommand {
    /// Version, size, leader, raft position, errors
    Status {
        #[command(flatten)]
        scope: Scope,
    },
    /// Whether each can serve a linearizable read, and no alarm stands
    Health {
        #[command(flatten)]
        scope: Scope,
    },
    /// Hash of all keys and their history
    Hashkv {
        #[command(flatten)]
        scope: Scope,
        /// As of this revision instead of what each has now
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
        rev: i64,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum AlarmCommand {
    /// Show those that stand
    List,
    /// Take all of them back; first remove the cause, or they come again
    #[command(after_help = "\
After \"NOSPACE\": compact, defragment, then disarm
  skeinctl compaction 123456 --physical && skeinctl defrag --cluster && skeinctl alarm disarm")]
    Disarm,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Example: keep no history but the present
  skeinctl compaction $(skeinctl -o json get x --prefix --count-only | jq .revision)

Watches that have to resume from before it list everything anew.")]
pub(crate) struct CompactionArgs {
    /// History before this revision is dropped
    #[arg(value_name = "REVISION", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) revision: i64,
    /// Return only when the history is gone from the disk
    #[arg(long)]
    pub(crate) physical: bool,
}

#[derive(Debug, Clone, Copy, ClapArgs)]
#[command(after_help = "\
A member may not answer while it is busy with this, so they are taken one after the other. Give it
time: --timeout 5m.")]
pub(crate) struct DefragArgs {
    #[command(flatten)]
    pub(crate) scope: Scope,
}

#[derive(Debug, Clone, Copy, ClapArgs)]
#[command(after_help = "\
Example: before the leader's machine is restarted
  skeinctl --endpoints 10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379 move-leader 8e9e05c52164694d

The leader is looked for among all members.")]
pub(crate) struct MoveLeaderArgs {
    /// The member that is to lead
    #[arg(value_name = "ID", value_parser = member_id)]
    pub(crate) id: u64,
}

fn member_id(text: &str) -> Result<u64, String> {
    let refused =
        || "a member is a hexadecimal number, as 8e9e05c52164694d (member list)".to_owned();
    u64::from_str_radix(text, 16).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_hexadecimal() {
        assert_eq!(member_id("8e9e05c52164694d"), Ok(0x8e9e_05c5_2164_694d));
        assert!(member_id("m1").unwrap_err().contains("hexadecimal"));
    }
}
