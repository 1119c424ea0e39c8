//! The plugin as a function: environment and stdin in, what to print and the exit code out.

use std::path::PathBuf;

use serde_json::Value;

use crate::client::{CallError, call};
use crate::config::{Command, Environment, NetworkConfig};
use crate::error::{self, CniError};
use crate::messages::{AddReply, AddRequest, CheckRequest, DelRequest, Request};
use crate::result::{Version, add_result, error_result, version_result};

/// Folder beside the agent's socket where a DEL waits while the agent is away.
pub const DELETIONS_DIR: &str = "deletions";

/// What the plugin leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// JSON for stdout, if any.
    pub print: Option<Value>,
    /// Exit code.
    pub code: i32,
}

/// Carries one call of the runtime out.
pub fn run(env: &Environment, stdin: &[u8]) -> Outcome {
    match carry_out(env, stdin) {
        Ok(print) => Outcome { print, code: 0 },
        Err(error) => {
            let asked = NetworkConfig::parse(stdin).map(|c| c.cni_version).unwrap_or_default();
            let version = if asked.is_empty() { Version::V1_1_0.name() } else { &asked };
            Outcome { print: Some(error_result(version, &error)), code: 1 }
        }
    }
}

fn carry_out(env: &Environment, stdin: &[u8]) -> Result<Option<Value>, CniError> {
    let command = Command::parse(env.required("CNI_COMMAND")?)?;
    let config = NetworkConfig::parse(stdin)?;
    if command == Command::Version {
        let asked = if config.cni_version.is_empty() { "1.1.0" } else { &config.cni_version };
        return Ok(Some(version_result(asked)));
    }
    let version = config.version()?;
    if version < command.since() {
        return Err(CniError::new(
            error::INCOMPATIBLE_VERSION,
            format!(
                "CNI {} has no such command; it came with {}",
                version.name(),
                command.since().name()
            ),
        ));
    }
    match command {
        Command::Add => add(env, &config, version).map(Some),
        Command::Del => del(env, &config).map(|()| None),
        Command::Check => check(env, &config).map(|()| None),
        Command::Gc => gc(&config).map(|()| None),
        Command::Status => status(&config).map(|()| None),
        Command::Version => Ok(None),
    }
}

fn add(env: &Environment, config: &NetworkConfig, version: Version) -> Result<Value, CniError> {
    config.require_name()?;
    let attachment = env.attachment()?;
    let netns = env.required("CNI_NETNS")?.to_owned();
    let ifname = attachment.ifname.clone();
    let request = Request::CniAdd(AddRequest {
        attachment,
        netns: netns.clone(),
        pod_namespace: env.argument("K8S_POD_NAMESPACE"),
        pod_name: env.argument("K8S_POD_NAME"),
        pod_uid: env.argument("K8S_POD_UID"),
    });
    let answer = call(&config.agent_socket, &request)?;
    let reply: AddReply = serde_json::from_value(answer).map_err(CallError::Garbled)?;
    Ok(add_result(version, &ifname, &netns, &reply))
}

/// DEL succeeds when the attachment is gone or will be: with the agent away the request is left in
/// a folder that the agent empties at its start, so that no runtime retries for ever.
///
/// The agent listens before it looks into the folder. So when it is still away once the request
/// lies there, it will find it; when it has come meanwhile, it may have looked already and is asked
/// again.
fn del(env: &Environment, config: &NetworkConfig) -> Result<(), CniError> {
    let request = DelRequest { attachment: env.attachment()? };
    let ask = || call(&config.agent_socket, &Request::CniDel(request.clone()));
    match ask() {
        Ok(_) => return Ok(()),
        Err(CallError::Away { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let Some(left) = leave_for_agent(config, &request)? else { return Ok(()) };
    match ask() {
        // Done; should the file stay, the agent finds at its next start that nothing is to be done.
        Ok(_) => {
            let _ = std::fs::remove_file(left);
            Ok(())
        }
        Err(CallError::Away { .. }) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// The file of the request; `None` without a state directory: then there is no agent that could
/// have made an attachment.
fn leave_for_agent(
    config: &NetworkConfig,
    request: &DelRequest,
) -> Result<Option<PathBuf>, CniError> {
    let Some(state_dir) = config.agent_socket.parent().filter(|dir| dir.is_dir()) else {
        return Ok(None);
    };
    let folder = state_dir.join(DELETIONS_DIR);
    let attachment = &request.attachment;
    let name = format!("{}.{}.json", attachment.container_id, attachment.ifname);
    let write = || {
        std::fs::create_dir_all(&folder)?;
        let partial = folder.join(format!(".{name}"));
        std::fs::write(&partial, serde_json::to_vec(request).map_err(std::io::Error::other)?)?;
        std::fs::File::open(&partial)?.sync_all()?;
        let path = folder.join(&name);
        std::fs::rename(&partial, &path)?;
        Ok(Some(path))
    };
    write().map_err(|source: std::io::Error| {
        CniError::new(error::TRY_AGAIN_LATER, "the agent is away and DEL could not be left for it")
            .with_details(source.to_string())
    })
}

fn check(env: &Environment, config: &NetworkConfig) -> Result<(), CniError> {
    config.require_name()?;
    let request = Request::CniCheck(CheckRequest {
        attachment: env.attachment()?,
        netns: env.required("CNI_NETNS")?.to_owned(),
        addresses: config.previous_addresses()?,
    });
    call(&config.agent_socket, &request)?;
    Ok(())
}

fn gc(config: &NetworkConfig) -> Result<(), CniError> {
    call(&config.agent_socket, &Request::CniGc { valid: config.kept_attachments()? })?;
    Ok(())
}

fn status(config: &NetworkConfig) -> Result<(), CniError> {
    match call(&config.agent_socket, &Request::CniStatus) {
        Ok(_) => Ok(()),
        // Pods keep their connectivity without the agent: programs and maps stay in the kernel.
        Err(CallError::Away { path, source }) => {
            Err(CniError::new(error::NOT_AVAILABLE, format!("the agent does not answer at {path}"))
                .with_details(source.to_string()))
        }
        Err(other) => Err(other.into()),
    }
}
