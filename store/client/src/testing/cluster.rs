//! Several members of one store.

use std::io;
use std::ops::{Index, IndexMut};
use std::path::PathBuf;

use super::{Launch, StoreProcess, etcd_program};

/// A store of several members on the loopback.
pub struct StoreCluster {
    members: Vec<StoreProcess>,
}

impl StoreCluster {
    /// Starts three members of a real etcd, or of what `SKEIN_TEST_STORE` names.
    pub fn three() -> io::Result<Self> {
        Self::with_flags(&[])
    }

    /// The same with further flags for each.
    pub fn with_flags(flags: &[&str]) -> io::Result<Self> {
        Self::with_program(etcd_program()?, 3, flags)
    }

    /// Starts members of a program that takes etcd's flags.
    pub fn with_program(program: PathBuf, size: usize, flags: &[&str]) -> io::Result<Self> {
        let launches = (0..size)
            .map(|n| Launch::new(program.clone(), &format!("m{n}")))
            .collect::<io::Result<Vec<_>>>()?;
        let pair = |launch: &Launch| format!("{}={}", launch.name, launch.peer_url());
        let cluster = launches.iter().map(pair).collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for mut launch in launches {
            launch.cluster = Some(cluster.clone());
            launch.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            members.push(StoreProcess::stopped(launch)?);
        }
        // None of them is ready before a majority runs.
        members.iter_mut().try_for_each(StoreProcess::spawn)?;
        members.iter_mut().try_for_each(StoreProcess::wait_until_listening)?;
        Ok(Self { members })
    }

    /// A further member that is to join: not started, and not yet in the member list. It starts once that
    /// list has its `peer_url`.
    pub fn prepare(&mut self) -> io::Result<&mut StoreProcess> {
        let first = &self.members[0].launch;
        let mut launch = Launch::new(first.program.clone(), &format!("m{}", self.members.len()))?;
        launch.state = "existing";
        launch.flags = first.flags.clone();
        let pairs = self.members.iter().map(|m| (&m.launch.name, m.peer_url()));
        let pairs: Vec<_> = pairs.map(|(name, url)| format!("{name}={url}")).collect();
        launch.cluster = Some(format!("{},{}={}", pairs.join(","), launch.name, launch.peer_url()));
        self.members.push(StoreProcess::stopped(launch)?);
        Ok(self.members.last_mut().expect("one was just put there"))
    }

    /// Where clients connect, for each member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(StoreProcess::endpoint).collect()
    }

    /// The member that serves an endpoint, as sessions name it.
    pub fn serving(&mut self, endpoint: &str) -> &mut StoreProcess {
        let bare = endpoint.trim_start_matches("http://");
        let of = |member: &&mut StoreProcess| member.endpoint() == bare;
        self.members.iter_mut().find(of).expect("the endpoint is of this cluster")
    }

    /// How many members there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }
}

impl Index<usize> for StoreCluster {
    type Output = StoreProcess;

    fn index(&self, index: usize) -> &StoreProcess {
        &self.members[index]
    }
}

impl IndexMut<usize> for StoreCluster {
    fn index_mut(&mut self, index: usize) -> &mut StoreProcess {
        &mut self.members[index]
    }
}
