//! What can be said about users, roles and authentication.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use skein_store_client::Access;

#[derive(Debug, Clone, Copy, Subcommand)]
#[command(after_help = "\
Example: from open to closed
  skeinctl user add root                 asks for the password
  skeinctl auth enable                   gives user root the role root if it lacks it
  skeinctl --user root auth status       asks for the password")]
pub(crate) enum AuthCommand {
    /// Make the store ask who is there; needs a user root
    Enable,
    /// Let everyone do everything again
    Disable,
    /// Whether the store asks
    Status,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NewPassword {
    /// The new password; without it the terminal is asked, or standard input read
    #[arg(
        long,
        env = "SKEINCTL_NEW_USER_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    pub(crate) new_user_password: Option<String>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  skeinctl user add agent                      asks for the password, shows nothing of it
  skeinctl user add agent < password-file
  skeinctl user add node-1 --no-password       logs in by its certificate's common name
  skeinctl user grant-role agent reader")]
pub(crate) enum UserCommand {
    /// Add a user, who may do nothing yet
    Add {
        name: String,
        #[command(flatten)]
        password: NewPassword,
        /// Let it log in by certificate only
        #[arg(long, conflicts_with = "new_user_password")]
        no_password: bool,
    },
    /// Delete a user
    Delete { name: String },
    /// Show them all
    List,
    /// The roles of a user
    Get {
        name: String,
        /// And what each of them may do
        #[arg(long)]
        detail: bool,
    },
    /// Give a user another password
    Passwd {
        name: String,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Give a user a role
    GrantRole { name: String, role: String },
    /// Take a role from a user
    RevokeRole { name: String, role: String },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  skeinctl role add reader
  skeinctl role grant-permission reader read skein/ --prefix
  skeinctl role grant-permission reader readwrite a b          keys from a up to b
  skeinctl role revoke-permission reader skein/ --prefix       as it was granted")]
pub(crate) enum RoleCommand {
    /// Add a role that may do nothing yet
    Add { name: String },
    /// Delete a role
    Delete { name: String },
    /// What a role may do
    Get { name: String },
    /// Show them all
    List,
    /// Allow a role something
    GrantPermission {
        name: String,
        access: AccessWord,
        #[command(flatten)]
        keys: Keys,
    },
    /// Take a permission back; its keys must be named as they were granted
    RevokePermission {
        name: String,
        #[command(flatten)]
        keys: Keys,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessWord {
    Read,
    Write,
    Readwrite,
}

impl From<AccessWord> for Access {
    fn from(word: AccessWord) -> Self {
        match word {
            AccessWord::Read => Self::Read,
            AccessWord::Write => Self::Write,
            AccessWord::Readwrite => Self::ReadWrite,
        }
    }
}

/// Which keys a permission is about.
#[derive(Debug, ClapArgs)]
pub(crate) struct Keys {
    /// The key, or the first of a range
    pub(crate) key: String,
    /// The first key behind the range
    pub(crate) range_end: Option<String>,
    /// Every key that begins with KEY
    #[arg(long, conflicts_with_all = ["range_end", "from_key"])]
    pub(crate) prefix: bool,
    /// KEY and every later one
    #[arg(long, conflicts_with = "range_end")]
    pub(crate) from_key: bool,
}
