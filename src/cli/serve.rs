//! `optrode serve`: the local dashboard.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use serde_json::json;

use super::common::{HoldArgs, print_json};
use crate::serve::{Options, Server};

/// Arguments of `optrode serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode serve
  optrode serve ./stories260K ./scanned izhikevich --port 9000
  optrode serve ./stories260K --port 0 --folder work --json

Prints an address with a token; open it in a browser. Without a name, the embedded organism (`organism`) and all simulated
networks. The folder of a scan's atlas brings its model. Edits, reports and exported models are written into --folder and
nowhere else. The API is under /api/v1 (openapi.json describes it) and takes the token as a bearer token.")]
pub struct Args {
    /// Model folders, Hub ids, folders of atlases, names of simulated networks, `organism`.
    #[arg(value_name = "MODEL|ATLAS|NETWORK")]
    subjects: Vec<String>,
    /// The address to listen at; another than this machine's own needs --token.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port; 0 for any that is free.
    #[arg(long, default_value_t = 8420)]
    port: u16,
    /// What requests must know, 16 letters and digits at least; random if left out.
    #[arg(long)]
    token: Option<String>,
    /// Where edits, reports and models are written.
    #[arg(long, value_name = "DIR", default_value = "optrode-serve")]
    folder: PathBuf,
    /// Open the browser.
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    hold: HoldArgs,
    /// Print address and token as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let server = Server::bind(&Options {
        subjects: args.subjects.clone(),
        address: args.host,
        port: args.port,
        token: args.token.clone(),
        folder: std::path::absolute(&args.folder).map_err(crate::Error::io(&args.folder))?,
        open: args.hold.options()?,
    })?;
    if args.json {
        print_json(&json!({ "url": server.url, "token": server.token }))?;
    } else {
        println!("{}\n(Ctrl-C ends it)", server.url);
    }
    io::stdout().flush()?;
    if args.open && !opened(&server.url) {
        eprintln!("note: no browser could be opened; open the address yourself");
    }
    server.run()?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the system to show an address.
fn opened(url: &str) -> bool {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    Command::new(program).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().is_ok()
}
