//! The command line: `--name value` pairs, each with the bounds that keep a run small.
//!
//! Not here: what an option means. Thread: any. Invariant: a value out of bounds, missing or
//! unknown is an error, never a default taken silently.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

const KNOWN: [&str; 9] =
    ["port", "connections", "size", "http", "tls", "server-pid", "warm-up", "duration", "requests"];

/// Option values by name, as text.
#[derive(Debug)]
pub(crate) struct Arguments {
    values: HashMap<String, String>,
}

impl Arguments {
    /// Reads `--name value` pairs.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> io::Result<Self> {
        let mut values = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| KNOWN.contains(name));
            let Some(name) = name else {
                return Err(io::Error::other(format!("unknown option {word:?}")));
            };
            let Some(value) = words.next() else {
                return Err(io::Error::other(format!("--{name} wants a value")));
            };
            values.insert(name.to_owned(), value);
        }
        Ok(Self { values })
    }

    /// Whether the option was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The option's value, if it was given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The option's value, required and within `bounds`.
    pub(crate) fn number<T: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        bounds: RangeInclusive<T>,
    ) -> io::Result<T> {
        let text = self
            .values
            .get(name)
            .ok_or_else(|| io::Error::other(format!("--{name} is missing")))?;
        match text.parse() {
            Ok(value) if bounds.contains(&value) => Ok(value),
            _ => Err(io::Error::other(format!(
                "--{name} {text:?} is not a number from {} to {}",
                bounds.start(),
                bounds.end()
            ))),
        }
    }

    /// A time in seconds, at most a minute.
    pub(crate) fn seconds(&self, name: &str) -> io::Result<Duration> {
        Ok(Duration::from_secs_f64(self.number(name, 0.0..=60.0)?))
    }

    /// The port: below the ephemeral range, so that no outgoing connection can hold it.
    pub(crate) fn port(&self) -> io::Result<u16> {
        self.number("port", 1024..=32767)
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    fn parse(line: &str) -> std::io::Result<Arguments> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_are_bounded() {
        let arguments = parse("--port 20000 --duration 0.5").expect("well formed");
        assert_eq!(arguments.port().expect("in bounds"), 20000);
        assert_eq!(arguments.seconds("duration").expect("in bounds").as_millis(), 500);
        assert!(arguments.has("duration") && !arguments.has("requests"));
        assert!(arguments.number::<u64>("requests", 1..=9).is_err());
        assert!(parse("--port 40000").expect("well formed").port().is_err());
        assert!(parse("--duration nan").expect("well formed").seconds("duration").is_err());
        assert!(parse("--duration 61").expect("well formed").seconds("duration").is_err());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(parse("--prot 20000").is_err());
        assert!(parse("port 20000").is_err());
        assert!(parse("--port").is_err());
    }
}
