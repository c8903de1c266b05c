//! `echo-load load ...` drives an echo or HTTP server and reports; `echo-load floor ...` is the echo server
//! that nothing can beat.
//!
//! Lives here: the command line's two verbs and how a failure is told. The work is in `load` and
//! `floor`. Thread: everything runs in the main thread; one epoll each. Invariant: stdout carries
//! JSON lines only, so a caller can parse it; failures go to stderr with exit status 1.

mod arguments;
mod connection;
mod cpu_time;
mod floor;
mod latency;
mod load;
mod reply;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::Arguments;

const USAGE: &str = "usage:
  echo-load load  --port P --connections N (--size BYTES | --http PIPELINED) --server-pid PID
                  (--warm-up S --duration S | --requests N) [--tls AUTHORITY.PEM]
  echo-load floor --port P";

fn run(mut words: impl Iterator<Item = String>) -> io::Result<()> {
    let verb = words.next().unwrap_or_default();
    let arguments = Arguments::parse(words)?;
    match verb.as_str() {
        "load" => load::run(&arguments),
        "floor" => floor::run(&arguments),
        _ => Err(io::Error::other(USAGE)),
    }
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr itself is closed.
            let _ = writeln!(io::stderr(), "echo-load: {error}");
            ExitCode::FAILURE
        }
    }
}
