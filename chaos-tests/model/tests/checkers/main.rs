//! The checkers, tried on correct histories and on lies.

mod generate;
mod honest;
mod planted;
mod search;
