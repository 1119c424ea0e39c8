//! What a case says when the store answered otherwise than etcd does.

use std::fmt;
use std::time::Duration;

use crate::endpoint::Refusal;

/// Why a case failed, in words for the runner's table.
#[derive(Debug)]
pub struct Failure(String);

/// What a case returns.
pub type Verdict<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with its own words.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A failed expectation, at the line that states it.
    pub fn at(file: &str, line: u32, text: String) -> Self {
        let file = file.rsplit('/').next().unwrap_or(file);
        Self(format!("{file}:{line}: {text}"))
    }

    /// Nothing came within the given time.
    pub fn silent(what: &str, waited: Duration) -> Self {
        Self(format!("no {what} within {waited:?}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(format!("unexpected refusal: {refusal}"))
    }
}

/// Fails the case unless both sides are equal.
macro_rules! same {
    ($left:expr, $right:expr) => {
        match (&$left, &$right) {
            (left, right) => {
                if !(*left == *right) {
                    return Err($crate::check::Failure::at(
                        file!(),
                        line!(),
                        format!("{} is {left:?}, expected {right:?}", stringify!($left)),
                    ));
                }
            }
        }
    };
}

/// Fails the case unless the condition holds.
macro_rules! holds {
    ($condition:expr) => {
        if !$condition {
            return Err($crate::check::Failure::at(
                file!(),
                line!(),
                format!("does not hold: {}", stringify!($condition)),
            ));
        }
    };
}

/// Fails the case unless the answer is a refusal with this code and this exact message.
macro_rules! refused {
    ($answer:expr, $code:ident, $message:expr) => {
        match $answer {
            Ok(answer) => {
                return Err($crate::check::Failure::at(
                    file!(),
                    line!(),
                    format!("answered {answer:?}, expected refusal {:?}", $message),
                ));
            }
            Err(refusal) => {
                if refusal.code != tonic::Code::$code || refusal.message != $message {
                    return Err($crate::check::Failure::at(
                        file!(),
                        line!(),
                        format!(
                            "refused with {refusal}, expected {}: {}",
                            stringify!($code),
                            $message
                        ),
                    ));
                }
            }
        }
    };
}

pub(crate) use {holds, refused, same};
