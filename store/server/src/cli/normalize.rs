//! A command line and an environment made for etcd, as one command line for [`super::Flags`].

use std::collections::BTreeSet;

use super::FlagError;
use super::etcd_flags::{Fate, Takes, find, of_variable};

/// A flag of etcd that was given and does nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its name without dashes, or the variable's.
    pub flag: String,
    /// Why it does nothing.
    pub why: &'static str,
}

/// Container images name what they hold in `ETCD_VERSION`: it asks for nothing.
const NO_SETTING: &str = "version";

/// What is left of a command line.
#[derive(Debug, Default)]
pub struct Normalized {
    /// For [`super::Flags`].
    pub args: Vec<String>,
    /// What was given and has no effect.
    pub ignored: Vec<Ignored>,
    seen: BTreeSet<String>,
}

/// Turns Go's spelling of flags (`-name x`) into ours, adds what `ETCD_` variables say beyond the
/// command line, and takes out what has no meaning here.
///
/// # Errors
/// [`FlagError::Refused`] for what must not be done without.
pub fn normalize(
    args: impl IntoIterator<Item = String>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Normalized, FlagError> {
    let mut found = Normalized::default();
    let mut args = args.into_iter().peekable();
    found.args.extend(args.next());
    while let Some(arg) = args.next() {
        let bare = arg.trim_start_matches('-');
        // A lone letter is an option of ours, such as -h.
        if !arg.starts_with('-') || bare.len() < 2 {
            found.args.push(arg);
            continue;
        }
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let follows = value.is_none() && find(name).is_some_and(|flag| flag.1 == Takes::Value);
        let value = if follows { args.next() } else { value };
        found.take(name, value)?;
    }
    for (variable, value) in variables {
        found.take_variable(variable, value)?;
    }
    Ok(found)
}

impl Normalized {
    fn take(&mut self, name: &str, value: Option<String>) -> Result<(), FlagError> {
        let flag = find(name).map_or(name, |(flag, ..)| flag);
        self.seen.insert(flag.to_owned());
        match find(name).map(|(.., fate)| *fate) {
            Some(Fate::Ignored(why)) => self.ignored.push(Ignored { flag: name.to_owned(), why }),
            Some(Fate::Refused(allowed, why)) => {
                let given = value.unwrap_or_else(|| "true".to_owned());
                if !allowed.contains(&given.as_str()) {
                    return Err(FlagError::Refused { flag: name.to_owned(), why });
                }
            }
            Some(Fate::Honoured) | None => match value.as_deref() {
                // Nothing is said, so the default holds.
                Some("") => {}
                Some(value) => self.args.push(format!("--{flag}={value}")),
                None => self.args.push(format!("--{flag}")),
            },
        }
        Ok(())
    }

    /// The command line goes before; a variable that names no flag is told, as etcd tells it.
    fn take_variable(&mut self, variable: String, value: String) -> Result<(), FlagError> {
        let Some(name) = of_variable(&variable) else { return Ok(()) };
        match find(&name).filter(|(flag, ..)| *flag != NO_SETTING) {
            Some((flag, ..)) if self.seen.contains(*flag) => {
                let why = "the flag was given";
                self.ignored.push(Ignored { flag: variable, why });
                Ok(())
            }
            Some(_) => self.take(&name, Some(value)),
            None => {
                let why = "no flag has this name";
                self.ignored.push(Ignored { flag: variable, why });
                Ok(())
            }
        }
    }
}
