//! What happened in a world, as one number: two runs of a seed must have the same one.

/// Collects events; prints them if asked to.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hash: u64,
    lines: u64,
    print: bool,
}

impl Trace {
    /// An empty one. `print` writes each line to standard output as well.
    pub fn new(print: bool) -> Self {
        Self { hash: FNV_OFFSET, lines: 0, print }
    }

    /// Something happened.
    pub fn line(&mut self, now: u64, what: std::fmt::Arguments<'_>) {
        let line = format!("{:>10.6} {what}", now as f64 / 1e6);
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        self.lines += 1;
        if self.print {
            println!("{line}");
        }
    }

    /// Something too frequent to be counted: only printed.
    pub fn detail(&self, now: u64, what: std::fmt::Arguments<'_>) {
        if self.print {
            println!("{:>10.6}   {what}", now as f64 / 1e6);
        }
    }

    /// The number, FNV-1a of all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
