//! Runs the built `skeinctl`.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// `skeinctl` with endpoints.
pub(crate) struct Skeinctl {
    endpoints: String,
}

impl Skeinctl {
    pub(crate) fn to(endpoints: &[String]) -> Self {
        Self { endpoints: endpoints.join(",") }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skeinctl"));
        command.env("SKEINCTL_ENDPOINTS", &self.endpoints).args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs what must succeed; returns what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same with `-o json`.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args = [&["-o", "json"], args].concat();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    /// Runs what must fail; returns its exit code and what it said.
    pub(crate) fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}
