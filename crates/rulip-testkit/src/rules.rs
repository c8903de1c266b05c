//! The house rules.
//!
//! What lives here: one function per rule, from sources to violations. What does not: which files
//! there are (`source`) and what is excepted (`exceptions`). Only tests run it. Invariant: a rule
//! sees tokens and never comments, so that it can be named in one.

use std::fmt;

use crate::exceptions::Exceptions;
use crate::source::Source;

/// Where the engine's sources are.
pub const ENGINE: &str = "crates/rulip-engine/src/";
/// Where the border's sources are.
pub const BORDER: &str = "crates/rulip-py/src/";
/// The most lines a file may have, its tests aside.
pub const MAX_LINES: usize = 600;

/// What each module of the engine may name, from the ground up. `lib.rs` may name all of them.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("readiness", &[]),
    ("time", &[]),
    ("sync", &[]),
    ("buf", &[]),
    ("ready", &[]),
    ("sys", &["error", "readiness", "time"]),
    ("transport", &["buf", "error", "readiness", "time"]),
    ("connect", &["error", "time"]),
    ("reactor", &["error", "readiness", "sys"]),
    ("signal", &["error", "reactor", "readiness", "sync", "sys"]),
    (
        "engine",
        &[
            "buf",
            "connect",
            "error",
            "reactor",
            "readiness",
            "ready",
            "signal",
            "sync",
            "sys",
            "time",
            "transport",
        ],
    ),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager"];

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of the file.
    pub path: String,
    /// 0: the file as a whole.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl Violation {
    fn new(source: &Source, line: usize, what: impl Into<String>) -> Self {
        Self { path: source.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Engine modules name only what lies below them.
pub fn layers(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let Some(below) = source.below(ENGINE).filter(|below| *below != "lib.rs") else { continue };
        let module = module_of(below);
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            let what = format!("module {module} has no layer: give it one in the rules");
            violations.push(Violation::new(source, 0, what));
            continue;
        };
        for (line, name) in root_paths(source, below) {
            if name != module && !allowed.contains(&name) {
                let what = format!("{module} must not name {name}");
                violations.push(Violation::new(source, line, what));
            }
        }
    }
    violations
}

/// The first segment of a path below `src/`, without an extension.
fn module_of(below: &str) -> &str {
    let first = below.split('/').next().unwrap_or(below);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The modules that a file names from the crate's root: after `crate::`, or after enough
/// `super::` to climb there.
fn root_paths<'a>(source: &'a Source, below: &str) -> Vec<(usize, &'a str)> {
    // `a.rs` and `a/mod.rs` are one step from the root, `a/b.rs` is two.
    let depth = below.split('/').filter(|part| *part != "mod.rs").count();
    let tokens = source.tokens();
    let mut names = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let mut climbed = 0;
        while is_step(&tokens, at, "super") {
            climbed += 1;
            at += 3;
        }
        let at_root = climbed == depth && climbed > 0;
        if at_root {
            names.extend(heads(&tokens[at..]));
        } else if is_step(&tokens, at, "crate") {
            at += 3;
            names.extend(heads(&tokens[at..]));
        } else if climbed == 0 {
            at += 1;
        }
    }
    names
}

fn is_step(tokens: &[(usize, &str)], at: usize, word: &str) -> bool {
    let step = tokens.get(at..at + 3);
    step.is_some_and(|step| step[0].1 == word && step[1].1 == ":" && step[2].1 == ":")
}

/// The names a path goes on with: one, or the first of each member of a group.
fn heads<'a>(tokens: &[(usize, &'a str)]) -> Vec<(usize, &'a str)> {
    if tokens.first().is_none_or(|(_, token)| *token != "{") {
        return tokens.first().copied().into_iter().collect();
    }
    let (mut depth, mut expected, mut names) = (0, true, Vec::new());
    for (line, token) in tokens {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," => expected |= depth == 1,
            name if depth == 1 && expected => {
                names.push((*line, name));
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// The engine's manifest does not know Python; the border's does not know libc.
pub fn manifests(manifests: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for manifest in manifests {
        let forbidden = match manifest.path.as_str() {
            "crates/rulip-engine/Cargo.toml" => "pyo3",
            "crates/rulip-py/Cargo.toml" => "libc",
            _ => continue,
        };
        for (index, line) in manifest.text.lines().enumerate() {
            if line.trim_start().starts_with(forbidden) {
                let what = format!("{forbidden} has no place here");
                violations.push(Violation::new(manifest, index + 1, what));
            }
        }
    }
    violations
}

/// Unsafe code only where it is expected.
pub fn unsafe_places(sources: &[Source], exceptions: &Exceptions) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !may_be_unsafe(&source.path)) {
        let tokens = source.tokens();
        let mut lines: Vec<usize> = tokens
            .iter()
            .enumerate()
            .filter(|(_, (_, token))| *token == "unsafe")
            .filter(|(at, _)| !excused_impl(&tokens[*at..], exceptions))
            .map(|(_, (line, _))| *line)
            .collect();
        lines.dedup();
        if !lines.is_empty() && !exceptions.excuse("unsafe", &source.path) {
            let what =
                "unsafe code belongs into sys, sync, ffi, buffer.rs, tls/openssl or slots.rs";
            violations.extend(lines.iter().map(|line| Violation::new(source, *line, what)));
        }
    }
    violations
}

fn may_be_unsafe(path: &str) -> bool {
    if let Some(below) = path.strip_prefix(ENGINE) {
        return matches!(module_of(below), "sys" | "sync");
    }
    if let Some(below) = path.strip_prefix(BORDER) {
        return matches!(module_of(below), "ffi" | "buffer")
            || below.starts_with("tls/openssl/")
            || below.ends_with("/slots.rs");
    }
    false
}

/// `unsafe impl Trait for ..`, where the trait is excepted: a promise about a type stands beside
/// the type.
fn excused_impl(tokens: &[(usize, &str)], exceptions: &Exceptions) -> bool {
    if tokens.get(1).is_none_or(|(_, token)| *token != "impl") {
        return false;
    }
    let head = tokens.iter().take_while(|(_, token)| *token != "for");
    head.skip(2).any(|(_, token)| exceptions.excuse("unsafe_impl", token))
}

/// Every source file says what it is before anything else.
pub fn headers(sources: &[Source]) -> Vec<Violation> {
    let has_header = |source: &&Source| {
        if source.path.ends_with(".py") {
            let text = source.text.trim_start_matches("#!/usr/bin/env python3\n");
            text.starts_with("\"\"\"") || text.starts_with("r\"\"\"")
        } else {
            source.text.starts_with("//! ")
        }
    };
    let bare = sources.iter().filter(|source| !has_header(source));
    bare.map(|source| Violation::new(source, 1, "no header: say what lives here")).collect()
}

/// Files stay readable in one go.
pub fn sizes(sources: &[Source], exceptions: &Exceptions) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let lines = source.code.lines().count();
        if lines > MAX_LINES && !exceptions.excuse("size", &source.path) {
            let what = format!("{lines} lines: split it, or say why not in house_rules.toml");
            violations.push(Violation::new(source, 0, what));
        }
    }
    violations
}

/// No module has a name that could hold anything.
pub fn names(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        let (stem, _) = source.path.rsplit_once('.').unwrap_or((&source.path, ""));
        for part in stem.split('/') {
            if EMPTY_NAMES.contains(&part.trim_start_matches('_')) {
                let what = format!("`{part}` could hold anything: name what it holds");
                violations.push(Violation::new(source, 0, what));
            }
        }
        for pair in source.tokens().windows(2) {
            if pair[0].1 == "mod" && EMPTY_NAMES.contains(&pair[1].1) {
                let what = format!("`mod {}` could hold anything", pair[1].1);
                violations.push(Violation::new(source, pair[1].0, what));
            }
        }
    }
    violations
}

/// One reader of the clock; everything else receives `now`.
pub fn clock(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in product(sources) {
        if source.path == format!("{ENGINE}sys/clock.rs") {
            continue;
        }
        let tokens = source.tokens();
        for (at, (line, token)) in tokens.iter().enumerate() {
            let reads = match *token {
                "clock_gettime" => true,
                "Instant" | "SystemTime" => {
                    is_step(&tokens, at, token) && tokens.get(at + 3).is_some_and(|t| t.1 == "now")
                }
                _ => false,
            };
            if reads {
                let what = "only sys::clock reads the clock: take `now` as an argument";
                violations.push(Violation::new(source, *line, what));
            }
        }
    }
    violations
}

/// Only `sys` makes system calls. Numbers of errors are no calls.
pub fn system_calls(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in product(sources) {
        if source.below(ENGINE).is_none_or(|below| module_of(below) == "sys") {
            continue;
        }
        let tokens = source.tokens();
        for (at, (line, token)) in tokens.iter().enumerate() {
            let constant = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let calls = match *token {
                "rustix" | "socket2" => is_step(&tokens, at, token),
                "libc" if is_step(&tokens, at, "libc") => {
                    heads(&tokens[at + 3..]).iter().any(|(_, name)| !constant(name))
                }
                _ => false,
            };
            if calls {
                let what = "system calls belong into sys";
                violations.push(Violation::new(source, *line, what));
            }
        }
    }
    violations
}

/// One place turns errors into Python's.
pub fn error_mapping(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in product(sources) {
        if source.below(BORDER).is_none_or(|below| below == "error.rs") {
            continue;
        }
        let tokens = source.tokens();
        for (at, (line, token)) in tokens.iter().enumerate() {
            if *token != "impl" {
                continue;
            }
            let head: Vec<&str> = tokens[at..]
                .iter()
                .map(|(_, token)| *token)
                .take_while(|token| *token != "{")
                .collect();
            let target = head.iter().rposition(|token| *token == "for");
            let of_errors = target
                .is_some_and(|at| head[..at].contains(&"From") && head[at..].contains(&"PyErr"));
            if of_errors {
                let what = "From<..> for PyErr belongs into error.rs";
                violations.push(Violation::new(source, *line, what));
            }
        }
    }
    violations
}

/// What is built into the product: the engine and the border, without tests.
fn product(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| {
        !source.is_test() && (source.below(ENGINE).is_some() || source.below(BORDER).is_some())
    })
}
