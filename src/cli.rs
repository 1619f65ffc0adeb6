//! The command line: what can be said on it, and which command answers.

use crate::commands;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// A CDN edge in one binary: a reverse proxy in front of your origin.
#[derive(Parser)]
#[command(
    name = "brim",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  brim demo                            see it work: an edge in front of a small site of its own
  brim demo --origin http://127.0.0.1:3000
                                       the same in front of your own server
  brim check --config edge.toml        everything that is wrong with a configuration, at once
  brim run --config edge.toml          serve

Exit codes: 0 good, 1 failed, 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve what a configuration says.
    #[command(after_help = "\
SIGTERM and SIGINT stop it: no new connections, running requests finish (at most
`server.shutdown_timeout`), then it exits with 0. A second signal does not wait.

Example:
  brim run --config /etc/brim/edge.toml")]
    Run(ConfigFile),
    /// Check a configuration and name every problem with its line.
    #[command(after_help = "\
Exits with 0 if the configuration can be served (warnings may be printed), else with 1.

Example:
  brim check --config edge.toml && systemctl restart brim")]
    Check(ConfigFile),
    /// Try it: an edge in front of an embedded site, or of an origin of yours.
    #[command(after_help = "\
Examples:
  brim demo                                    http://127.0.0.1:8080, the embedded site behind it
  brim demo --listen 127.0.0.1:0               on any free port
  brim demo --origin http://127.0.0.1:3000     in front of your own server
  brim demo --origin-only                      the embedded site alone, without an edge")]
    Demo(Demo),
    /// Print a completion script for a shell.
    #[command(after_help = "\
Examples:
  brim completions bash > /etc/bash_completion.d/brim
  brim completions zsh > ~/.zfunc/_brim
  brim completions fish > ~/.config/fish/completions/brim.fish")]
    Completions {
        /// The shell to complete for.
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "edge.toml")]
    config: PathBuf,
}

#[derive(Args)]
struct Demo {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Use this origin instead of the embedded site.
    #[arg(long, value_name = "URL", conflicts_with = "origin_only",
          value_parser = crate::config::values::origin_server)]
    origin: Option<crate::config::OriginServer>,
    /// Serve the embedded site itself, without an edge in front of it.
    #[arg(long)]
    origin_only: bool,
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(file) => commands::run::run(&file.config),
        Command::Check(file) => commands::check::check(&file.config),
        Command::Demo(demo) if demo.origin_only => commands::demo::origin_only(demo.listen),
        Command::Demo(demo) => commands::demo::demo(demo.listen, demo.origin),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "brim", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}
