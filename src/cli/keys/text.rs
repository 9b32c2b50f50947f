//! What `tollway keys` prints for people.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::keys::{Made, Shown, State, Usage};

use super::desk::List;

/// A key that was made or rotated: the only time that it is shown.
pub(super) fn made(made: &Made, overlap: Option<Timestamp>) -> String {
    let Made { key, shown } = made;
    let mut text =
        format!("{key}\n\nThe key of {} (team {}). It is shown this once.\n", shown.name, shown.team);
    if let Some(until) = overlap {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "The old one counts until {until}.");
    }
    for (what, value) in limits(shown) {
        let _ = writeln!(text, "  {what:<12} {value}");
    }
    text
}

/// All keys, a line each.
pub(super) fn list(list: &List, now: Timestamp) -> String {
    if list.keys.is_empty() {
        return "There is no virtual key; `tollway keys create` makes one.\n".to_owned();
    }
    let head = ["NAME", "STATE", "KEY", "TEAM", "USER", "BUDGET", "LIMITS", "EXPIRES"].map(str::to_owned);
    let rows: Vec<[String; 8]> =
        std::iter::once(head).chain(list.keys.iter().map(|key| row(key, now))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    rows.iter().fold(String::new(), |mut text, row| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        text
    })
}

fn row(key: &Shown, now: Timestamp) -> [String; 8] {
    let state = match (key.state, key.overlaps_until.filter(|until| now < *until)) {
        (State::Active, None) => "active",
        (State::Active, Some(_)) => "rotating",
        (State::Expired, _) => "expired",
        (State::Revoked, _) => "revoked",
    };
    let nothing = || "-".to_owned();
    let rates = [
        key.rpm.map(|rpm| format!("{rpm} rpm")),
        key.tpm.map(|tpm| format!("{tpm} tpm")),
        key.concurrency.map(|places| format!("{places} at once")),
    ];
    let rates: Vec<String> = rates.into_iter().flatten().collect();
    [
        key.name.to_string(),
        state.to_owned(),
        format!("{}…", key.prefix),
        key.team.to_string(),
        key.user.as_deref().map_or_else(nothing, str::to_owned),
        key.budget.as_ref().map_or_else(nothing, ToString::to_string),
        if rates.is_empty() { nothing() } else { rates.join(", ") },
        key.expires.map_or_else(nothing, |expires| expires.to_string()),
    ]
}

/// A key that was taken away.
pub(super) fn revoked(shown: &Shown) -> String {
    let at = shown.revoked.map_or_else(String::new, |at| format!(" at {at}"));
    format!("{} was revoked{at}: every gateway refuses it within a second.\n", shown.name)
}

/// What a key has used.
pub(super) fn usage(usage: &Usage) -> String {
    let mut text = format!(
        "{}: {} requests, {} prompt tokens, {} answer tokens, {} USD\n",
        usage.name, usage.requests, usage.prompt_tokens, usage.answer_tokens, usage.cost_usd
    );
    if let Some(spent) = &usage.budget_spent_usd {
        let since = usage.window_began.map_or_else(String::new, |began| format!(" since {began}"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "of its budget: {spent} USD spent{since}");
    }
    text
}

fn limits(shown: &Shown) -> Vec<(&'static str, String)> {
    let tags: Vec<String> = shown.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let lines = [
        ("user", shown.user.as_ref().map(ToString::to_string)),
        ("organisation", shown.organisation.as_ref().map(ToString::to_string)),
        ("budget", shown.budget.as_ref().map(ToString::to_string)),
        ("rpm", shown.rpm.map(|n| n.to_string())),
        ("tpm", shown.tpm.map(|n| n.to_string())),
        ("concurrency", shown.concurrency.map(|n| n.to_string())),
        ("models", (!shown.models.is_empty()).then(|| shown.models.join(", "))),
        ("tags", (!tags.is_empty()).then(|| tags.join(", "))),
        ("expires", shown.expires.map(|at| at.to_string())),
    ];
    lines.into_iter().filter_map(|(what, value)| Some((what, value?))).collect()
}
