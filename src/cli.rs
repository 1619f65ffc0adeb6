//! The command line: what can be said on it, and which command answers.

mod dev;

use crate::commands;
use crate::commands::door::Door;
use crate::rules::purging::Wish;
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

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
  brim dev http://localhost:5173       an edge in front of your development server
  brim check --config edge.toml        everything that is wrong with a configuration, at once
  brim run --config edge.toml          serve
  brim purge --tag news                have the running edge forget what has this tag
  brim reload                          have it apply its configuration again

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
`server.shutdown_timeout`), then it exits with 0. A second signal does not wait. SIGHUP applies the
file again and opens the access log again, SIGUSR2 has a new process take over, as `brim reload` and
`brim upgrade` do.

Example:
  brim run --config /etc/brim/edge.toml")]
    Run(ConfigFile),
    /// Check a configuration and name every problem with its line.
    #[command(after_help = "\
Exits with 0 if the configuration can be served (warnings may be printed), else with 1.

Example:
  brim check --config /etc/brim/edge.toml && systemctl reload brim")]
    Check(ConfigFile),
    /// Try it: an edge in front of an embedded site, or of an origin of yours.
    #[command(after_help = "\
Examples:
  brim demo                                    http://127.0.0.1:8080, the embedded site behind it
  brim demo --listen 127.0.0.1:0               on any free port
  brim demo --https 127.0.0.1:8443             over TLS, too, with a certificate of its own making
  brim demo --origin http://127.0.0.1:3000     in front of your own server
  brim demo --origin-only                      the embedded site alone, without an edge")]
    Demo(Demo),
    /// See what an edge makes of your development server, without a configuration.
    ///
    /// One line a request tells what became of it and why. Hot reload (WebSockets), event streams and
    /// uploads pass.
    #[command(after_help = "\
The authority behind --https is made once, in $XDG_DATA_HOME/brim (~/.local/share/brim). Browsers
believe it when its certificate, local-authority.pem, is among those that they, or the system, trust:
  Debian, Ubuntu  sudo cp local-authority.pem /usr/local/share/ca-certificates/brim-local.crt
                  sudo update-ca-certificates
  Chromium        certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n brim-local -i local-authority.pem
  Firefox         Settings, Certificates, Authorities, Import
  macOS           security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db \\
                  local-authority.pem
It can sign only for names and addresses of this machine and its neighbours.

Examples:
  brim dev http://localhost:5173
  brim dev 3000 --https
  brim dev http://localhost:5173 --simulate latency=80ms --simulate slow-origin
  brim dev 8000 --ttl 1m --watch public --watch dist/assets=/assets
  brim dev https://staging.example.com --listen 127.0.0.1:9000")]
    Dev(dev::Dev),
    /// Have a running edge forget what is named.
    ///
    /// It is in force, and on stable storage, when the command ends. Whatever is named may be repeated,
    /// and different kinds may be named at once. The edge and its token are those of the configuration
    /// where nothing else is said.
    #[command(after_help = "\
The token: --token-file, else the environment's BRIM_ADMIN_TOKEN, else `server.admin_token_file`.

Examples:
  brim purge --url http://www.example.com/a.css
  brim purge --url http://www.example.com/search --all-queries
  brim purge --prefix http://www.example.com/assets/ --dry-run
  brim purge --tag news --tag front-page --soft
  brim purge --host www.example.com --wait
  brim purge --all --admin http://10.0.0.2:9180 --token-file admin.token")]
    Purge(Purge),
    /// Have a running edge apply its configuration again.
    ///
    /// No request, no connection and nothing of the cache is lost. What has changed is printed, and what
    /// needs a restart; a configuration that is not good changes nothing, and everything that is wrong
    /// with it is printed. The edge reads the file that it was started with.
    #[command(after_help = "\
The token: --token-file, else the environment's BRIM_ADMIN_TOKEN, else `server.admin_token_file`.

Examples:
  brim reload
  brim check && brim reload
  brim reload --admin http://10.0.0.2:9180 --token-file admin.token")]
    Reload(RunningEdge),
    /// Show or change how loud a running edge's error log is.
    ///
    /// What is changed is so at once, and until the next start, or a reload with another `log.level`.
    #[command(after_help = "\
LEVEL is error, warn, info, debug or trace, and may name others for single parts of the program, which
the lines of the log name; off is for those alone.

Examples:
  brim log-level
  brim log-level debug
  brim log-level info,brim::upstream=debug --admin http://10.0.0.2:9180 --token-file admin.token")]
    LogLevel(LogLevel),
    /// Have the binary that is in the place of the running edge's take over from it.
    ///
    /// It is started as the running one was, and gets its sockets and its disk. No request is lost:
    /// the old process answers what it has taken, and serves on if the new one fails. SIGUSR2 does the
    /// same.
    #[command(after_help = "\
It ends when the new process takes requests, or with 1 and the reason why it does not.
`server.takeover_timeout` is how long it may take.

Examples:
  mv brim.new /usr/local/bin/brim && brim upgrade --config /etc/brim/edge.toml
  brim upgrade --admin http://127.0.0.1:9180 --token-file admin.token")]
    Upgrade(RunningEdge),
    /// Ask a running edge how it is, as container runtimes and balancers do.
    ///
    /// No token is needed.
    #[command(after_help = "\
Prints what `GET /readyz` answers. Exits with 0 if the edge takes requests, also where it does without
its disk or an origin, and with 1 if it is shutting down or does not answer.

Examples:
  brim health --config /etc/brim/edge.toml
  brim health --admin http://127.0.0.1:9180           reads no configuration
  brim health --admin http://127.0.0.1:9180 --live    while it shuts down, too")]
    Health {
        #[command(flatten)]
        file: ConfigFile,
        /// The edge's admin listener, instead of `server.admin` of the configuration.
        #[arg(long, value_name = "URL", value_parser = commands::door::admin_address)]
        admin: Option<String>,
        /// Only whether the process lives: `GET /healthz`.
        #[arg(long)]
        live: bool,
    },
    /// Tell why a URL is, or is not, answered out of the cache, and what to change.
    ///
    /// A running edge is asked, which changes nothing and asks no origin, unless --fetch says so.
    #[command(after_help = "\
The words are explained in docs/reasons.md. A URL without a scheme is taken for http://. A Host
given with -H takes the place of the URL's.

Examples:
  brim explain http://www.example.com/a.css
  brim explain https://www.example.com/ -H 'Cookie: session=1' -H 'Accept-Encoding: br'
  brim explain www.example.com/api/news --fetch
  brim explain http://127.0.0.1:8080/ -H 'Host: www.example.com' --json")]
    Explain(Explain),
    /// Look into the folder of the disk tier.
    ///
    /// Nothing is changed and nothing is claimed: the edge that uses the folder may go on running.
    #[command(after_help = "\
Examples:
  brim store stat --path /var/lib/brim         what is in it, segment by segment
  brim store verify --path /var/lib/brim       compare everything with its checksums
  brim store ls --path /var/lib/brim | head    what is kept
  brim store dump --path /var/lib/brim http://www.example.com/a.css")]
    Store {
        #[command(subcommand)]
        command: Store,
    },
    /// Print every key that a configuration may have: as a JSON schema, for editors.
    #[command(after_help = "\
Editors that know TOML (Even Better TOML for VS Code, taplo) read the first line of a file:
  #:schema ./edge.schema.json

Examples:
  brim schema > edge.schema.json
  brim schema --markdown > docs/configuration.md")]
    Schema {
        /// For people: the reference of all keys, in Markdown.
        #[arg(long)]
        markdown: bool,
    },
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

/// The edge that a command is about.
#[derive(Args)]
struct RunningEdge {
    #[command(flatten)]
    file: ConfigFile,
    /// The edge's admin listener, instead of `server.admin` of the configuration.
    #[arg(long, value_name = "URL", value_parser = commands::door::admin_address)]
    admin: Option<String>,
    /// A file with the operator's token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl RunningEdge {
    fn door(self) -> Door {
        Door { config: self.file.config, admin: self.admin, token_file: self.token_file }
    }
}

#[derive(Args)]
struct Demo {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where to listen with TLS, too; the certificate is made for this run.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "origin_only")]
    https: Option<SocketAddr>,
    /// Use this origin instead of the embedded site.
    #[arg(long, value_name = "URL", conflicts_with = "origin_only",
          value_parser = crate::config::values::origin_server)]
    origin: Option<crate::config::OriginServer>,
    /// Serve the embedded site itself, without an edge in front of it.
    #[arg(long)]
    origin_only: bool,
}

#[derive(Args)]
#[command(group(ArgGroup::new("named").required(true).multiple(true)))]
struct Purge {
    /// This URL, with all variants of it.
    #[arg(long, value_name = "URL", num_args = 1.., group = "named")]
    url: Vec<String>,
    /// Every URL that begins like this.
    #[arg(long, value_name = "URL", num_args = 1.., group = "named")]
    prefix: Vec<String>,
    /// Everything that the origin gave this name, in Surrogate-Key or Cache-Tag.
    #[arg(long, value_name = "TAG", num_args = 1.., group = "named")]
    tag: Vec<String>,
    /// Everything of this host.
    #[arg(long, value_name = "HOST", num_args = 1.., group = "named")]
    host: Vec<String>,
    /// Everything.
    #[arg(long, group = "named")]
    all: bool,
    /// The path of each --url with any query, or none.
    #[arg(long, requires = "url")]
    all_queries: bool,
    /// Not gone, but stale: used where a stale object may be, while it is asked for again.
    #[arg(long)]
    soft: bool,
    /// Only tell what would go.
    #[arg(long)]
    dry_run: bool,
    /// Wait until everything that goes is counted.
    #[arg(long)]
    wait: bool,
    /// For machines: the edge's answer, one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    edge: RunningEdge,
}

#[derive(Args)]
struct LogLevel {
    /// What it is to be from now on.
    #[arg(value_name = "LEVEL", value_parser = crate::config::Levels::from_str)]
    level: Option<crate::config::Levels>,
    #[command(flatten)]
    edge: RunningEdge,
}

impl Purge {
    fn run(self) -> ExitCode {
        let wish = Wish {
            urls: self.url,
            prefixes: self.prefix,
            tags: self.tag,
            hosts: self.host,
            all: self.all,
            soft: self.soft,
            all_queries: self.all_queries,
            dry_run: self.dry_run,
            wait: self.wait,
        };
        commands::purge::purge(&wish, &self.edge.door(), self.json)
    }
}

#[derive(Args)]
struct Explain {
    /// What is asked for.
    #[arg(value_name = "URL")]
    url: String,
    /// A field of the request; again for more.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The method of the request.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// Ask the origin once, past the cache, and judge its answer; nothing is stored.
    #[arg(long)]
    fetch: bool,
    /// For machines: the edge's answer, one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    edge: RunningEdge,
}

impl Explain {
    fn run(self) -> ExitCode {
        let Self { url, headers, method, fetch, json, edge } = self;
        let question = commands::explain::Question { url, headers, method, fetch };
        commands::explain::explain(&question, &edge.door(), json)
    }
}

#[derive(Subcommand)]
enum Store {
    /// Count what is in it, in all and for each segment.
    #[command(after_help = "\
Example:
  brim store stat --path /var/lib/brim --json")]
    Stat {
        #[command(flatten)]
        folder: StoreFolder,
        /// For machines: one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Read everything and compare it with its checksums.
    #[command(after_help = "\
One line for each thing that is bad: file, offset, what is wrong, and the key where it is known.
Exits with 1 if there is any.

Example:
  brim store verify --path /var/lib/brim || echo 'the device loses data'")]
    Verify {
        #[command(flatten)]
        folder: StoreFolder,
    },
    /// List what is kept: bytes, age and key, one line an entry.
    #[command(after_help = "\
Bytes are what the entry takes on the device, less what lies in chunks.

Example:
  brim store ls --path /var/lib/brim | sort -n | tail")]
    Ls {
        #[command(flatten)]
        folder: StoreFolder,
        /// For machines: one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Print what is stored for a key: head lines, an empty line, the body.
    #[command(after_help = "\
KEY is what `ls` shows, or a URL where only one site keeps something for it. On a terminal, control
bytes of the body are shown as \\xNN; a file or a pipe gets the body as it is.

Examples:
  brim store dump --path /var/lib/brim 'www.example.com www.example.com/a.css?v=1'
  brim store dump --path /var/lib/brim --head http://www.example.com/a.css?v=1")]
    Dump {
        #[command(flatten)]
        folder: StoreFolder,
        /// Only the head lines, and in front of them what is known about the answer, marked by `#`.
        #[arg(long)]
        head: bool,
        /// Of several answers for one key, this one.
        #[arg(long, value_name = "NUMBER")]
        variant: Option<NonZeroUsize>,
        /// What to print.
        #[arg(required = true, value_name = "KEY")]
        key: Vec<String>,
    },
}

#[derive(Args)]
struct StoreFolder {
    /// The folder, `cache.disk.path` of the configuration.
    #[arg(short, long, value_name = "DIR")]
    path: PathBuf,
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(file) => commands::run::run(&file.config),
        Command::Check(file) => commands::check::check(&file.config),
        Command::Demo(demo) if demo.origin_only => commands::demo::origin_only(demo.listen),
        Command::Demo(demo) => {
            let doors = commands::demo::Doors { http: demo.listen, https: demo.https };
            commands::demo::demo(doors, demo.origin)
        }
        Command::Dev(dev) => dev.run(),
        Command::Purge(purge) => purge.run(),
        Command::Reload(edge) => commands::reload::reload(&edge.door()),
        Command::LogLevel(LogLevel { level, edge }) => {
            commands::log_level::log_level(level.map(|level| level.to_string()), &edge.door())
        }
        Command::Upgrade(edge) => commands::upgrade::upgrade(&edge.door()),
        Command::Health { file, admin, live } => {
            let door = Door { config: file.config, admin, token_file: None };
            commands::health::health(&door, live)
        }
        Command::Explain(explain) => explain.run(),
        Command::Store { command } => match command {
            Store::Stat { folder, json } => commands::store::stat(&folder.path, json),
            Store::Verify { folder } => commands::store::verify(&folder.path),
            Store::Ls { folder, json } => commands::store::ls(&folder.path, json),
            // Written without quotes, the shell has made words of it.
            Store::Dump { folder, head, variant, key } => {
                let part = commands::store::Part { only_head: head, variant };
                commands::store::dump(&folder.path, &key.join(" "), part)
            }
        },
        Command::Schema { markdown } => commands::schema::schema(markdown),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "brim", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}
