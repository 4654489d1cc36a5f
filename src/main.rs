//! The `optrode` program: parses the command line, runs the command, sets the exit code.

use std::process::ExitCode;

use clap::Parser;

// Candle frees its large buffers after every operation; the system allocator would return them each time.
#[global_allocator]
static ALLOCATOR: optrode::allocator::Allocator = optrode::allocator::Allocator;

fn main() -> ExitCode {
    optrode::allocator::keep_freed();
    let cli = match optrode::cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return optrode::cli::refuse(&refusal),
    };
    if cli.trains() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        // A trainer keeps every processor busy; Candle's own threads would only spin beside it. Without a number of
        // threads Candle reads the system's list of processors at every matrix product, which costs small ones double.
        for (name, value) in [("CANDLE_NUM_THREADS", "1"), ("RAYON_NUM_THREADS", processors.as_str())] {
            if std::env::var_os(name).is_none() {
                // SAFETY: the program has no other thread yet.
                unsafe { std::env::set_var(name, value) };
            }
        }
    }
    match optrode::cli::run(cli) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", optrode::cli::one_line(&format!("{error:#}")));
            ExitCode::from(2)
        }
    }
}

/// The reader of our output went away (`optrode sites M | head`): nothing is wrong.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}
