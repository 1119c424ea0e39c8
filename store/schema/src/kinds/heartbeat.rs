//! `cilium/.heartbeat`: a sign of life that every client may watch.

use crate::path::key_text;
use crate::{Doc, KeyReason, Lifetime, StoreKey, StoreValue, ValueReason, Writer};

/// The one heartbeat key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeartbeatKey;

key_text!(HeartbeatKey);

impl StoreKey for HeartbeatKey {
    type Value = Heartbeat;
    const PREFIX: &'static str = "cilium/.heartbeat";
    const DOC: Doc = Doc {
        kind: "Heartbeat",
        layout: "cilium/.heartbeat",
        scope: "the whole store",
        cardinality: "1",
        writer: Writer::ControlPlane,
        readers: "any client, as a watch: silence for two periods means that the watch is dead",
        lifetime: Lifetime::Lease,
        value: "the time of writing (RFC 3339, UTC), every 60 s; readers need not look at it; not JSON",
        absence: "no control plane has been elected lately",
    };

    fn encode(&self) -> String {
        Self::PREFIX.to_owned()
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        if text == Self::PREFIX { Ok(Self) } else { Err(KeyReason::OtherKind) }
    }

    fn example() -> (Self, Heartbeat) {
        (Self, Heartbeat::at(1_767_225_600))
    }
}

/// When the store was last known to take writes. Any text is accepted, as Cilium's readers do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heartbeat {
    /// RFC 3339.
    pub time: String,
}

impl Heartbeat {
    /// The heartbeat of a moment, in seconds since 1970 (UTC).
    pub fn at(unix_s: u64) -> Self {
        Self { time: rfc3339(unix_s) }
    }
}

impl StoreValue for Heartbeat {
    fn encode(&self) -> Vec<u8> {
        self.time.clone().into_bytes()
    }

    fn decode(raw: &[u8]) -> Result<Self, ValueReason> {
        let time = std::str::from_utf8(raw).map_err(|_| ValueReason::NotUtf8)?;
        Ok(Self { time: time.to_owned() })
    }
}

/// Seconds since 1970 as `YYYY-MM-DDThh:mm:ssZ`. Years are counted from March, so that the leap day is
/// the last of its year and months have a fixed pattern of lengths (153 days in five months).
fn rfc3339(unix_s: u64) -> String {
    const DAY_S: u64 = 86_400;
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH_DAYS: u64 = 719_468;
    /// Days in 400 years of the Gregorian calendar.
    const ERA_DAYS: u64 = 146_097;
    let (days, second) = (unix_s / DAY_S + EPOCH_DAYS, unix_s % DAY_S);
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_calendar_dates() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Heartbeat::at(unix_s).time, text);
        }
    }
}
