//! Source files as the rules see them.
//!
//! What lives here: finding the files, and their text without comments, literals and tests. What
//! does not: judging them (`rules`). Only tests run it. Invariant: `code` has the line breaks of
//! `text`, so that a place in one is a place in the other.

use std::fs;
use std::io;
use std::path::Path;

/// One file.
#[derive(Debug, Clone)]
pub struct Source {
    /// From the root of the repository, with forward slashes.
    pub path: String,
    /// All of it.
    pub text: String,
    /// Rust without comments, literals and inline test modules; other languages as they are.
    pub code: String,
}

impl Source {
    /// A file with this text.
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") {
            without_tests(&without_comments_and_literals(text))
        } else {
            text.to_owned()
        };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// True for files that only tests compile.
    pub fn is_test(&self) -> bool {
        let mut parts = self.path.split('/').rev();
        let file = parts.next().unwrap_or_default();
        matches!(file, "tests.rs" | "models.rs")
            || parts.any(|part| matches!(part, "tests" | "benches"))
    }

    /// The path below `prefix`.
    pub fn below<'a>(&'a self, prefix: &str) -> Option<&'a str> {
        self.path.strip_prefix(prefix)
    }

    /// The identifiers of `code` with their lines, and the single characters between them.
    pub fn tokens(&self) -> Vec<(usize, &str)> {
        let mut tokens = Vec::new();
        for (index, line) in self.code.lines().enumerate() {
            let mut rest = line.trim_start();
            while let Some(first) = rest.chars().next() {
                let is_word = |c: char| c.is_alphanumeric() || c == '_';
                let len = if is_word(first) {
                    rest.find(|c| !is_word(c)).unwrap_or(rest.len())
                } else {
                    first.len_utf8()
                };
                tokens.push((index + 1, &rest[..len]));
                rest = rest[len..].trim_start();
            }
        }
        tokens
    }
}

/// Every file below `root/dir` whose name ends in `.ext`, sorted by path.
///
/// # Errors
/// What the file system answers.
pub fn collect(root: &Path, dir: &str, ext: &str) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{dir}/{name}");
            if entry.path().is_dir() {
                if !matches!(name.as_str(), "target" | "__pycache__") && !name.starts_with('.') {
                    dirs.push(path);
                }
            } else if Path::new(&name).extension().is_some_and(|found| found == ext) {
                found.push(Source::new(&path, &fs::read_to_string(entry.path())?));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Blanks comments, strings and characters out, line breaks excepted.
fn without_comments_and_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let len = if after_word { 0 } else { raw_string(rest) };
        let len = if len > 0 {
            len
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            quoted(rest)
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if len == 0 {
            out.push(first);
            after_word = first.is_alphanumeric() || first == '_';
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            after_word = false;
            rest = &rest[len..];
        }
    }
    out
}

/// The length of the raw string that `text` opens with, or 0.
fn raw_string(text: &str) -> usize {
    let body = text.strip_prefix('b').or_else(|| text.strip_prefix('c')).unwrap_or(text);
    let Some(body) = body.strip_prefix('r') else { return 0 };
    let quote = body.trim_start_matches('#');
    let hashes = body.len() - quote.len();
    if !quote.starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = text.len() - quote.len() + 1;
    text[opening..].find(&end).map_or(text.len(), |at| opening + at + end.len())
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the character literal that `text` opens with; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
        }
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// Cuts inline test modules off; by custom they are the end of their file.
fn without_tests(code: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        let opens_tests = line.starts_with("#[cfg(")
            && line.contains("test")
            && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if opens_tests {
            break;
        }
        kept.push(line);
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let source = Source::new("x.rs", text);
        source.tokens().into_iter().map(|(_, token)| token.to_owned()).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = concat!(
            "a // no\n/* no /* no */ no */ b \"no \\\" no\" c r#\"no \" no\"# d ",
            "'n' '\\'' e b\"no\" bar\"no\""
        );
        assert_eq!(words(text), ["a", "b", "c", "d", "e", "b", "bar"]);
        assert_eq!(words("fn f<'a>(x: &'a u8)").join(""), "fnf<'a>(x:&'au8)");
    }

    #[test]
    fn lines_are_kept() {
        let source = Source::new("x.rs", "a\n/* \n\n */ b\n\"\n\" c");
        assert_eq!(source.tokens(), [(1, "a"), (4, "b"), (6, "c")]);
    }

    #[test]
    fn inline_tests_are_cut_off() {
        assert_eq!(words("a\n#[cfg(test)]\nmod tests {\n b }"), ["a"]);
        assert_eq!(words("a\n#[cfg(all(test, loom))]\nmod m {\n b }"), ["a"]);
        assert!(words("a\n#[cfg(test)]\nmod tests;\nb").contains(&"b".to_owned()));
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        for path in ["c/tests/a.rs", "c/src/x/tests.rs", "c/src/x/models.rs", "c/src/x/tests/y.rs"]
        {
            assert!(Source::new(path, "").is_test(), "{path}");
        }
        assert!(!Source::new("c/src/contests.rs", "").is_test());
    }
}
