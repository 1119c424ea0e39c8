//! What two equal clusters print differently is replaced by words.

/// Fields of structured output that name a cluster or a time.
const IDS: [&str; 11] = [
    "cluster_id",
    "member_id",
    "raft_term",
    "ClusterID",
    "MemberID",
    "RaftTerm",
    "\"ID\"",
    "\"Lease\"",
    "\"lease\"",
    "\"TTL\"",
    "remaining",
];

/// Shorter runs of hexadecimal digits are data, longer ones ids.
const ID_DIGITS_MIN: usize = 12;

/// Makes a transcript comparable. `numbers` hides every number, for output that is all measures.
pub(crate) fn mask(transcript: &str, address: &str, base: i64, numbers: bool) -> String {
    let text = transcript.replace(address, "ADDRESS");
    let lines = text.lines().map(mask_ports).map(|line| {
        let line = mask_fields(&mask_ids(&line));
        let line = mask_revisions(&line, base);
        if numbers && !line.starts_with("$ ") { mask_numbers(&line) } else { line }
    });
    let lines: Vec<String> = lines.collect();
    let blocks = lines.chunk_by(|_, next| !next.starts_with("$ "));
    let blocks = blocks.map(|block| if numbers { unordered(block) } else { block.to_vec() });
    blocks.flatten().map(|line| line + "\n").collect()
}

/// Lists of members are in order of their ids, which differ: a command's lines in an order of their
/// own, without which member is which and which of them leads.
fn unordered(block: &[String]) -> Vec<String> {
    let mut block: Vec<String> = block.iter().map(|line| mask_members(line)).collect();
    block[1..].sort();
    block
}

fn mask_members(line: &str) -> String {
    let line =
        ["m0", "m1", "m2"].into_iter().fold(line.to_owned(), |l, name| l.replace(name, "NAME"));
    let line = line.replace("ADDRESS", "127.0.0.1:PORT");
    // Whether it leads comes before whether it learns, which none does.
    let leads = if line.contains(", true,") { ", true," } else { ", false," };
    match line.starts_with("127.0.0.1:PORT, ID") {
        true => line.replacen(leads, ", LEADS,", 1),
        false => line,
    }
}

/// Hides the port of every other address on this machine: the peers'.
fn mask_ports(line: &str) -> String {
    const HERE: &str = "127.0.0.1:";
    let Some((before, behind)) = line.split_once(HERE) else { return line.to_owned() };
    format!(
        "{before}{HERE}PORT{}",
        mask_ports(behind.trim_start_matches(|c: char| c.is_ascii_digit()))
    )
}

/// Hides every long hexadecimal number.
fn mask_ids(line: &str) -> String {
    let runs = line.as_bytes().chunk_by(|a, b| a.is_ascii_hexdigit() == b.is_ascii_hexdigit());
    let masked = runs.flat_map(|run| match run {
        [first, ..] if first.is_ascii_hexdigit() && run.len() >= ID_DIGITS_MIN => b"ID",
        run => run,
    });
    String::from_utf8_lossy(&masked.copied().collect::<Vec<u8>>()).into_owned()
}

/// Hides the number behind each field name that is an id.
fn mask_fields(line: &str) -> String {
    let mut line = line.to_owned();
    for id in IDS {
        let mut from = 0;
        while let Some(found) = line[from..].find(id) {
            let behind = from + found + id.len();
            let digits = line[behind..]
                .char_indices()
                .skip_while(|(_, c)| matches!(c, '"' | ':' | ' ' | '('))
                .take_while(|(_, c)| c.is_ascii_hexdigit())
                .map(|(at, _)| behind + at)
                .collect::<Vec<_>>();
            if let (Some(&first), Some(&last)) = (digits.first(), digits.last()) {
                line.replace_range(first..=last, "ID");
            }
            from = behind;
        }
    }
    line
}

/// Revisions count from the scenario's start, so that earlier scenarios may leave different ones.
fn mask_revisions(line: &str, base: i64) -> String {
    const NAMES: [&str; 6] = [
        "\"revision\":",
        "_revision\":",
        "\"Revision\" : ",
        "Revision\" : ",
        "revision ",
        "revision: ",
    ];
    for name in NAMES {
        if let Some(at) = line.find(name) {
            let (before, behind) = line.split_at(at + name.len());
            let digits = behind.chars().take_while(char::is_ascii_digit).count();
            if let Ok(revision) = behind[..digits].parse::<i64>() {
                let rest = mask_revisions(&behind[digits..], base);
                return format!("{before}R{:+}{rest}", revision - base);
            }
        }
    }
    line.to_owned()
}

/// Replaces each number, with its fraction, unit of size or of time, by one letter.
fn mask_numbers(line: &str) -> String {
    let mut masked = String::new();
    for word in line.split_inclusive([' ', ',']) {
        let number = word.starts_with(|c: char| c.is_ascii_digit());
        let unit = ["kB", "MB", "GB", "B"].contains(&word.trim_end_matches([' ', ',']));
        match (number, unit) {
            (true, _) => masked += if word.ends_with(',') { "N," } else { "N " },
            (_, true) => masked += if word.ends_with(',') { "SIZE," } else { "SIZE " },
            _ => masked += word,
        }
    }
    masked
}

/// The lines in which two transcripts differ.
pub(crate) fn difference(expected: &str, found: &str) -> String {
    let (mut left, mut right) = (expected.lines(), found.lines());
    let mut text = String::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return text,
            (expected, found) if expected == found => {
                if expected.is_some_and(|line| line.starts_with("$ ")) {
                    text += &format!("      {}\n", expected.unwrap_or_default());
                }
            }
            (expected, found) => {
                text += &format!("      etcd:  {}\n", expected.unwrap_or("(nothing)"));
                text += &format!("      skein: {}\n", found.unwrap_or("(nothing)"));
            }
        }
    }
}
