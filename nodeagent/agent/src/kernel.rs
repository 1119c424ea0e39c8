//! The datapath in the kernel: the object, its pinned maps, its pinned links.
//!
//! Everything that forwards is pinned under `<bpf-root>/v<layout>/`: maps by their names, links in
//! `links/`. A restarted or newer agent loads its programs on the same maps, then puts them behind
//! the same links one by one; packets meet the old program or the new one, never none. What a pod's
//! device runs is a classic filter on `clsact` with a fixed priority and handle, because attaching a
//! tcx link waits for an RCU period (about 12 ms, not in parallel) and a node may have 250 pods; the
//! filter outlives the process too, and is replaced in place.
//!
//! If the agent stops anywhere in here, the next start finds either the old or the new program
//! behind each link, and does the rest.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{MapData, MapInfo};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{CgroupAttachMode, CgroupSockAddr, SchedClassifier, TcAttachType, tc};
use aya::{Ebpf, EbpfLoader};
use skein_bpf_abi::config::NODE_CONFIG;
use skein_bpf_abi::maps::{self, MapKind};
use skein_bpf_abi::{LAYOUT_VERSION, MapSpec, NodeConfig, programs};

use crate::maps::{MapError, Maps, RawEntry};
use crate::{chain, sys};

/// The programs, as they are kept in the repository.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bpf/object/skein.o"));
/// Priority of the filter on a pod's device: first.
const POD_FILTER_PRIORITY: u16 = 1;
/// Handle of the filter on a pod's device: fixed, so that a restarted agent replaces its own.
const POD_FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);
/// Magic of a BPF file system (`BPF_FS_MAGIC` of `linux/magic.h`).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// What failed while the datapath was brought up.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Pins need a BPF file system.
    #[error("{0} is not in a BPF file system (mount -t bpf bpf <dir>)")]
    NotBpffs(PathBuf),
    /// A directory or pin.
    #[error("cannot {what} {path}")]
    Pin {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The object did not load.
    #[error("cannot load the programs")]
    Load(#[source] Box<aya::EbpfError>),
    /// A program that the object should have.
    #[error("the object has no program {0}")]
    NoProgram(String),
    /// A program was refused.
    #[error("the kernel refused program {name}: {log}")]
    Program { name: String, log: String },
    /// A program could not be attached.
    #[error("cannot attach {program} to {target}: {reason}")]
    Attach { program: String, target: String, reason: String },
}

/// Where and how to attach.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Directory of all versions' pins.
    pub bpf_root: PathBuf,
    /// The node's cgroup, for socket programs; none leaves them out.
    pub cgroup: Option<PathBuf>,
    /// Native devices.
    pub devices: Vec<String>,
    /// `skein_host`.
    pub host_device: String,
    /// `skein_vxlan`, in tunnel mode.
    pub overlay_device: Option<String>,
}

/// The loaded programs and the open maps.
pub struct Kernel {
    links: PathBuf,
    ebpf: Mutex<Ebpf>,
    maps: Arc<KernelMaps>,
}

impl Kernel {
    /// Loads the object on the pinned maps and puts its programs behind every link.
    /// `filled` is called with the maps before any link is switched, so that programs never run on
    /// maps that a fresh boot left empty.
    pub fn load(
        placement: &Placement,
        config: NodeConfig,
        filled: impl FnOnce(Arc<KernelMaps>),
    ) -> Result<Kernel, KernelError> {
        let dir = placement.bpf_root.join(format!("v{LAYOUT_VERSION}"));
        let links = dir.join("links");
        make_dir(&links)?;
        require_bpffs(&dir)?;
        let config = config.to_bytes();
        let mut loader = EbpfLoader::new();
        loader.override_global(NODE_CONFIG, &config, true);
        for spec in maps::ALL {
            let pin = dir.join(spec.name);
            discard_foreign_map(&pin, spec)?;
            loader.map_pin_path(spec.name, pin);
        }
        let ebpf = loader.load(OBJECT).map_err(|error| KernelError::Load(Box::new(error)))?;
        let maps = Arc::new(KernelMaps::open(&dir)?);
        filled(Arc::clone(&maps));
        let kernel = Kernel { links, ebpf: Mutex::new(ebpf), maps };
        kernel.load_programs(placement)?;
        kernel.attach_devices(placement)?;
        kernel.attach_cgroup(placement)?;
        Ok(kernel)
    }

    /// The maps.
    pub fn maps(&self) -> &Arc<KernelMaps> {
        &self.maps
    }

    /// Puts the program on a pod's host-side device, or replaces what an earlier agent put there.
    pub fn attach_pod(&self, device: &str) -> Result<(), KernelError> {
        let failed = |reason: String| KernelError::Attach {
            program: programs::POD_INGRESS.to_owned(),
            target: device.to_owned(),
            reason,
        };
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let program = classifier(&mut ebpf, programs::POD_INGRESS)?;
        let (priority, handle) = (POD_FILTER_PRIORITY, POD_FILTER_HANDLE);
        // Already there after a restart; if it is not there for another reason, the next step says so.
        let is_new = tc::qdisc_add_clsact(device).is_ok();
        let replaced = if is_new {
            None
        } else {
            SchedClassifierLink::attached(device, TcAttachType::Ingress, priority, handle, None)
                .ok()
                .and_then(|link| program.attach_to_link(link).ok())
        };
        let id = match replaced {
            Some(id) => id,
            None => {
                let options = NlOptions { priority, handle, classid: None };
                let options = TcAttachOptions::Netlink(options);
                program
                    .attach_with_options(device, TcAttachType::Ingress, options)
                    .map_err(|error| failed(chain(&error)))?
            }
        };
        // Dropping the link would take the filter away; it must outlive this process.
        std::mem::forget(program.take_link(id).map_err(|error| failed(chain(&error)))?);
        Ok(())
    }

    fn load_programs(&self, placement: &Placement) -> Result<(), KernelError> {
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        for name in programs::TC {
            let refused = |error| program_error(name, &error);
            classifier(&mut ebpf, name)?.load().map_err(refused)?;
        }
        if placement.cgroup.is_some() {
            for name in programs::SOCK_ADDR {
                let refused = |error| program_error(name, &error);
                sock_addr(&mut ebpf, name)?.load().map_err(refused)?;
            }
        }
        Ok(())
    }

    fn attach_devices(&self, placement: &Placement) -> Result<(), KernelError> {
        let mut wanted = Vec::new();
        self.attach_device(programs::HOST_EGRESS, &placement.host_device, &mut wanted)?;
        for device in &placement.devices {
            self.attach_device(programs::NETDEV_INGRESS, device, &mut wanted)?;
        }
        if let Some(device) = &placement.overlay_device {
            self.attach_device(programs::OVERLAY_INGRESS, device, &mut wanted)?;
        }
        self.remove_links("tc_", &wanted)
    }

    fn attach_device(
        &self,
        name: &str,
        device: &str,
        wanted: &mut Vec<PathBuf>,
    ) -> Result<(), KernelError> {
        let failed = |reason: String| KernelError::Attach {
            program: name.to_owned(),
            target: device.to_owned(),
            reason,
        };
        let pin = self.links.join(format!("tc_{device}"));
        wanted.push(pin.clone());
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let program = classifier(&mut ebpf, name)?;
        let fd = program.fd().map_err(|error| failed(chain(&error)))?;
        if take_over(&pin, fd.as_fd())? {
            return Ok(());
        }
        let direction = match name {
            programs::HOST_EGRESS => TcAttachType::Egress,
            _ => TcAttachType::Ingress,
        };
        let id = program.attach(device, direction).map_err(|error| failed(chain(&error)))?;
        let link = program.take_link(id).map_err(|error| failed(chain(&error)))?;
        let link: FdLink = link.try_into().map_err(|_| failed("not a link".to_owned()))?;
        link.pin(&pin).map_err(|error| failed(chain(&error)))?;
        Ok(())
    }

    fn attach_cgroup(&self, placement: &Placement) -> Result<(), KernelError> {
        let mut wanted = Vec::new();
        if let Some(path) = &placement.cgroup {
            let opened = File::open(path);
            let cgroup = opened.map_err(|source| pin_error("open the cgroup", path, source))?;
            for name in programs::SOCK_ADDR {
                self.attach_socket(name, &cgroup, path, &mut wanted)?;
            }
        }
        self.remove_links("cg_", &wanted)
    }

    fn attach_socket(
        &self,
        name: &str,
        cgroup: &File,
        path: &Path,
        wanted: &mut Vec<PathBuf>,
    ) -> Result<(), KernelError> {
        let failed = |reason: String| KernelError::Attach {
            program: name.to_owned(),
            target: path.display().to_string(),
            reason,
        };
        let pin = self.links.join(format!("cg_{name}"));
        wanted.push(pin.clone());
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let program = sock_addr(&mut ebpf, name)?;
        let fd = program.fd().map_err(|error| failed(chain(&error)))?;
        if take_over(&pin, fd.as_fd())? {
            return Ok(());
        }
        // `Single` gives flags 0; a cgroup link is stacked with others all the same.
        let id = program
            .attach(cgroup, CgroupAttachMode::Single)
            .map_err(|error| failed(chain(&error)))?;
        let link = program.take_link(id).map_err(|error| failed(chain(&error)))?;
        let link: FdLink = link.try_into().map_err(|_| failed("not a link".to_owned()))?;
        link.pin(&pin).map_err(|error| failed(chain(&error)))?;
        Ok(())
    }

    /// Removes pinned links of one sort that are not wanted any more, which detaches them.
    fn remove_links(&self, prefix: &str, wanted: &[PathBuf]) -> Result<(), KernelError> {
        let listed = std::fs::read_dir(&self.links)
            .map_err(|source| pin_error("list", &self.links, source))?;
        for entry in listed.flatten() {
            let path = entry.path();
            let is_ours = entry.file_name().to_string_lossy().starts_with(prefix);
            if is_ours && !wanted.contains(&path) {
                unpin(&path)?;
            }
        }
        Ok(())
    }
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, KernelError> {
    let program = ebpf.program_mut(name).ok_or_else(|| KernelError::NoProgram(name.to_owned()))?;
    program.try_into().map_err(|error| program_error(name, &error))
}

fn sock_addr<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut CgroupSockAddr, KernelError> {
    let program = ebpf.program_mut(name).ok_or_else(|| KernelError::NoProgram(name.to_owned()))?;
    program.try_into().map_err(|error| program_error(name, &error))
}

/// The verifier's log is the only useful thing about a refusal, and it is a field of its own.
fn program_error(name: &str, error: &aya::programs::ProgramError) -> KernelError {
    let log = match error {
        aya::programs::ProgramError::LoadError { io_error, verifier_log } => {
            format!("{io_error}\n{verifier_log}")
        }
        other => chain(other),
    };
    KernelError::Program { name: name.to_owned(), log }
}

fn pin_error(what: &'static str, path: &Path, source: std::io::Error) -> KernelError {
    KernelError::Pin { what, path: path.to_owned(), source }
}

fn make_dir(dir: &Path) -> Result<(), KernelError> {
    std::fs::create_dir_all(dir).map_err(|source| pin_error("create", dir, source))
}

/// Puts a program behind the link that an earlier run pinned; whether there was one that took it.
fn take_over(pin: &Path, program: BorrowedFd<'_>) -> Result<bool, KernelError> {
    let Ok(link) = sys::open_pin(pin) else { return Ok(false) };
    if sys::update_link(link.as_fd(), program).is_ok() {
        return Ok(true);
    }
    // What the link hung on is gone (and something of the same name came).
    drop(link);
    unpin(pin)?;
    Ok(false)
}

fn unpin(path: &Path) -> Result<(), KernelError> {
    std::fs::remove_file(path).map_err(|source| pin_error("remove", path, source))
}

fn require_bpffs(dir: &Path) -> Result<(), KernelError> {
    let found = nix::sys::statfs::statfs(dir)
        .map_err(|errno| pin_error("look at", dir, std::io::Error::from(errno)))?;
    if found.filesystem_type().0 as i64 != BPF_FS_MAGIC {
        return Err(KernelError::NotBpffs(dir.to_owned()));
    }
    Ok(())
}

/// The loading library takes a pinned map over without a look at its layout; so look before. A map of
/// another layout under our name (an interrupted development build) is dropped: what the agent fills
/// is rebuilt, and state under another layout could not be read anyway.
fn discard_foreign_map(pin: &Path, spec: &'static MapSpec) -> Result<(), KernelError> {
    if !pin.exists() {
        return Ok(());
    }
    let info = MapData::from_pin(pin).and_then(|map| map.info()).ok();
    if info.is_some_and(|info| is_layout(&info, spec)) {
        return Ok(());
    }
    tracing::warn!(map = spec.name, "pinned map has another layout, replacing it");
    unpin(pin)
}

fn is_layout(info: &MapInfo, spec: &MapSpec) -> bool {
    info.map_type().is_ok_and(|kind| kind as u32 == spec.kind as u32)
        && info.key_size() == spec.key_size
        && info.value_size() == spec.value_size
        && info.max_entries() == spec.max_entries
}

/// The pinned maps, by plain descriptors.
pub struct KernelMaps {
    open: Vec<(&'static MapSpec, OwnedFd)>,
    cpus: usize,
    events: PathBuf,
}

impl KernelMaps {
    fn open(dir: &Path) -> Result<KernelMaps, KernelError> {
        let open = |spec: &'static MapSpec| {
            let pin = dir.join(spec.name);
            sys::open_pin(&pin).map(|fd| (spec, fd)).map_err(|e| pin_error("open", &pin, e))
        };
        let cpus = aya::util::nr_cpus()
            .map_err(|(what, source)| pin_error(what, Path::new("/sys"), source))?;
        let events = dir.join(maps::events::NAME);
        Ok(KernelMaps { open: maps::ALL.iter().map(open).collect::<Result<_, _>>()?, cpus, events })
    }

    /// The pin of the event ring buffer.
    pub fn events_pin(&self) -> &Path {
        &self.events
    }

    fn fd(&self, spec: &'static MapSpec) -> Result<&OwnedFd, MapError> {
        let found = self.open.iter().find(|(known, _)| known.name == spec.name);
        found.map(|(_, fd)| fd).ok_or(MapError::Layout { map: spec.name })
    }
}

fn sizes(spec: &MapSpec) -> sys::Sizes {
    sys::Sizes { key: spec.key_size as usize, value: spec.value_size as usize }
}

fn map_error(what: &'static str, spec: &'static MapSpec, source: std::io::Error) -> MapError {
    match source.raw_os_error() {
        Some(libc::E2BIG | libc::ENOSPC) => {
            MapError::Full { map: spec.name, capacity: spec.max_entries }
        }
        _ => MapError::Io { what, map: spec.name, source },
    }
}

impl Maps for KernelMaps {
    fn dump(&self, map: &'static MapSpec) -> Result<Vec<RawEntry>, MapError> {
        if matches!(map.kind, MapKind::PerCpuArray | MapKind::RingBuf) {
            return Err(MapError::Layout { map: map.name });
        }
        sys::dump(self.fd(map)?.as_fd(), sizes(map)).map_err(|e| map_error("read", map, e))
    }

    fn write(&self, map: &'static MapSpec, keys: &[u8], values: &[u8]) -> Result<(), MapError> {
        sys::update_batch(self.fd(map)?.as_fd(), sizes(map), keys, values)
            .map_err(|e| map_error("write", map, e))
    }

    fn delete(&self, map: &'static MapSpec, keys: &[u8]) -> Result<(), MapError> {
        sys::delete_batch(self.fd(map)?.as_fd(), sizes(map), keys)
            .map_err(|e| map_error("delete from", map, e))
    }

    fn capacity(&self, map: &'static MapSpec) -> u32 {
        map.max_entries
    }

    fn counters(&self) -> Result<Vec<maps::metrics::Metric>, MapError> {
        let spec = &maps::metrics::SPEC;
        let fd = self.fd(spec)?;
        let read = |index| {
            let per_cpu =
                sys::lookup_per_cpu(fd.as_fd(), index, spec.value_size as usize, self.cpus)
                    .map_err(|e| map_error("read", spec, e))?;
            let values = per_cpu.iter().filter_map(|raw| raw.as_slice().try_into().ok());
            let values = values.map(maps::metrics::Metric::from_bytes);
            Ok(values.fold(maps::metrics::Metric::default(), |sum, value| maps::metrics::Metric {
                packets: sum.packets + value.packets,
                bytes: sum.bytes + value.bytes,
            }))
        };
        (0..spec.max_entries).map(read).collect()
    }
}

/// Takes every pinned link and map of this layout away: what a node that leaves the cluster does.
pub fn remove_all(bpf_root: &Path) -> Result<(), KernelError> {
    let dir = bpf_root.join(format!("v{LAYOUT_VERSION}"));
    for folder in [dir.join("links"), dir.clone()] {
        let Ok(listed) = std::fs::read_dir(&folder) else { continue };
        for path in listed.flatten().map(|entry| entry.path()).filter(|path| !path.is_dir()) {
            unpin(&path)?;
        }
        std::fs::remove_dir(&folder).map_err(|source| pin_error("remove", &folder, source))?;
    }
    Ok(())
}

/// Whether a pinned link leads to a program, for status.
pub fn link_program(pin: &Path) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(pin).ok()?);
    link.info().ok().map(|info| info.program_id())
}
