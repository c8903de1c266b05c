//! Exceptions from the house rules: each has a key and a reason.
//!
//! What lives here: the little of TOML that `house_rules.toml` needs: tables of quoted keys and
//! quoted values. What does not: what a table means (`rules`). Only tests run it. Invariant: an
//! exception without a reason, or one that nothing uses any more, is an error.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// The tables of `house_rules.toml`.
#[derive(Debug, Default)]
pub struct Exceptions {
    entries: BTreeMap<(String, String), String>,
    used: RefCell<BTreeSet<(String, String)>>,
}

impl Exceptions {
    /// Reads the text of `house_rules.toml`.
    ///
    /// # Errors
    /// The number and the fault of the first line that is neither a comment, a `[table]`, nor
    /// `"key" = "reason"` with a reason worth the name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries = BTreeMap::new();
        let mut table = String::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            let fault = |what: &str| format!("line {}: {what}: {line}", index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table = name.to_owned();
                continue;
            }
            let (key, reason) = line.split_once('=').ok_or_else(|| fault("no exception"))?;
            let unquote = |text: &str| {
                let inner = text.trim().strip_prefix('"')?.strip_suffix('"')?;
                Some(inner.to_owned())
            };
            let key = unquote(key).ok_or_else(|| fault("the key is not quoted"))?;
            let reason = unquote(reason).ok_or_else(|| fault("the reason is not quoted"))?;
            if reason.split_whitespace().count() < 3 {
                return Err(fault("no reason"));
            }
            if entries.insert((table.clone(), key), reason).is_some() {
                return Err(fault("said twice"));
            }
        }
        Ok(Self { entries, used: RefCell::default() })
    }

    /// True if `table` excepts `key`; remembers that it was needed.
    pub fn excuse(&self, table: &str, key: &str) -> bool {
        let entry = (table.to_owned(), key.to_owned());
        let excused = self.entries.contains_key(&entry);
        if excused {
            self.used.borrow_mut().insert(entry);
        }
        excused
    }

    /// Exceptions that no rule has asked for.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let unused = self.entries.keys().filter(|entry| !used.contains(*entry));
        unused.map(|(table, key)| format!("[{table}] {key}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_has_a_table_a_key_and_a_reason() {
        let text = "# why\n[size]\n\"a.rs\" = \"one table, read as one\"\n";
        let exceptions = Exceptions::parse(text).unwrap();
        assert_eq!(exceptions.unused(), ["[size] a.rs"]);
        assert!(exceptions.excuse("size", "a.rs") && !exceptions.excuse("unsafe", "a.rs"));
        assert!(exceptions.unused().is_empty());
    }

    #[test]
    fn exceptions_without_a_reason_are_refused() {
        for bad in [
            "\"a.rs\" = \"\"",
            "\"a.rs\" = \"because\"",
            "\"a.rs\"",
            "a.rs = \"it is one table\"",
            "\"a\" = \"it is needed\"\n\"a\" = \"it is needed\"",
        ] {
            assert!(Exceptions::parse(bad).is_err(), "{bad}");
        }
    }
}
