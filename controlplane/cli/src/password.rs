//! Passwords from the terminal, without echo, or from a pipe.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::args::NewPassword;

/// The terminal with its echo off; on again when dropped.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> nix::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.before);
    }
}

/// Asks for a password once.
pub(crate) fn ask(prompt: &str) -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        return line();
    }
    // Before the prompt: what is typed as soon as it shows must not be seen, nor thrown away.
    let silence = Silence::begin().context("cannot turn the terminal's echo off")?;
    eprint!("{prompt}");
    io::stderr().flush()?;
    let password = line();
    drop(silence);
    eprintln!();
    password
}

/// A new password: from the flag, from the terminal twice, or from standard input.
pub(crate) fn new(given: NewPassword, name: &str) -> anyhow::Result<String> {
    if let Some(password) = given.new_user_password {
        return Ok(password);
    }
    let password = ask(&format!("New password of {name}: "))?;
    if io::stdin().is_terminal() && ask(&format!("The same again, of {name}: "))? != password {
        bail!("the two passwords differ; nothing was changed");
    }
    Ok(password)
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("no password was given: type one, pipe one, or use the flag");
    }
    Ok(password.to_owned())
}
