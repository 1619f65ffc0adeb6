//! wrk and h2load as processes: what they are asked to do, and what they say.

use crate::contestants::Contestant;
use crate::rows::{Row, Wanted, Way};
use crate::{HOST, path_of};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Beyond its time, until it is taken for one that never ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many requests the script of wrk knows beforehand; it begins again behind the last one.
const SEQUENCE_LENGTH: usize = 1 << 18;

/// Which the client chooses, so that nobody has less to encrypt than others.
const CIPHER_SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// What one measurement was.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) answers: f64,
    pub(crate) seconds: f64,
    /// Of latencies; `None` where the generator tells none.
    pub(crate) p99_seconds: Option<f64>,
    /// What was no answer with status 200.
    pub(crate) failed: f64,
}

/// Ends with whoever waits for it.
struct Generator(Child);

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// For so many whole seconds.
pub(crate) async fn run(
    row: &Row,
    contestant: &Contestant,
    folder: &Path,
    seconds: u64,
) -> io::Result<Said> {
    let mut command = match row.way {
        Way::Plain | Way::Tls => wrk(row, contestant, folder, seconds)?,
        Way::Http2 { streams } => h2load(row, contestant, streams, seconds),
    };
    let said = folder.join("generator");
    let output = std::fs::File::create(&said)?;
    command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
    let mut generator = Generator(command.spawn()?);
    let until = Instant::now() + Duration::from_secs(seconds) + PATIENCE;
    while generator.0.try_wait()?.is_none() {
        if Instant::now() > until {
            return Err(io::Error::other("the load generator does not end"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = std::fs::read_to_string(said)?;
    let understood = match row.way {
        Way::Plain | Way::Tls => of_wrk(&said),
        Way::Http2 { .. } => of_h2load(&said),
    };
    understood.ok_or_else(|| io::Error::other(format!("the load generator said: {said}")))
}

fn wrk(row: &Row, contestant: &Contestant, folder: &Path, seconds: u64) -> io::Result<Command> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "--latency", "--timeout", "10s", "-H", &format!("Host: {HOST}")]);
    command.arg(format!("-c{}", row.connections)).arg(format!("-d{seconds}s"));
    if let Wanted::Zipf { objects, exponent } = row.wanted {
        let script = folder.join("wanted.lua");
        let prefix = path_of(row, 0);
        let prefix = prefix.strip_suffix('0').expect("the number of the object comes last");
        std::fs::write(&script, lua(prefix, objects, exponent))?;
        command.arg("-s").arg(script);
    }
    let url = match row.way {
        Way::Tls => {
            // wrk has no option for it.
            let settings = folder.join("openssl.cnf");
            std::fs::write(&settings, openssl_settings())?;
            command.env("OPENSSL_CONF", settings);
            format!("https://{}", contestant.tls)
        }
        _ => format!("http://{}", contestant.plain),
    };
    command.arg(url + &path_of(row, 0));
    Ok(command)
}

fn openssl_settings() -> String {
    format!(
        "openssl_conf = load\n[load]\nssl_conf = tls\n[tls]\nsystem_default = everybody\n\
         [everybody]\nCiphersuites = {CIPHER_SUITE}\n"
    )
}

/// Requests are made before the load begins; then each is one look into a table.
fn lua(prefix: &str, objects: u64, exponent: f64) -> String {
    format!(
        "local sequence, position = {{}}, 0\n\
         function init()\n\
         \x20 math.randomseed(1)\n\
         \x20 local requests, reached, total = {{}}, {{}}, 0\n\
         \x20 for object = 1, {objects} do\n\
         \x20   requests[object] = wrk.format('GET', '{prefix}' .. (object - 1))\n\
         \x20   total = total + object ^ -{exponent:.3}\n\
         \x20   reached[object] = total\n\
         \x20 end\n\
         \x20 for draw = 1, {SEQUENCE_LENGTH} do\n\
         \x20   local wanted, low, high = math.random() * total, 1, {objects}\n\
         \x20   while low < high do\n\
         \x20     local middle = math.floor((low + high) / 2)\n\
         \x20     if reached[middle] < wanted then low = middle + 1 else high = middle end\n\
         \x20   end\n\
         \x20   sequence[draw] = requests[low]\n\
         \x20 end\n\
         end\n\
         function request()\n\
         \x20 position = position % {SEQUENCE_LENGTH} + 1\n\
         \x20 return sequence[position]\n\
         end\n"
    )
}

fn h2load(row: &Row, contestant: &Contestant, streams: usize, seconds: u64) -> Command {
    let mut command = Command::new("h2load");
    command.args(["-t1", &format!("-c{}", row.connections), &format!("-m{streams}")]);
    command.arg(format!("--tls13-ciphers={CIPHER_SUITE}"));
    command.arg(format!("-D{seconds}")).arg(format!("--connect-to={}", contestant.tls));
    command.arg(format!("https://{HOST}{}", path_of(row, 0)));
    command
}

fn of_wrk(said: &str) -> Option<Said> {
    let after = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name));
    let line = said.lines().find(|line| line.contains(" requests in "))?;
    let (answers, rest) = line.trim().split_once(" requests in ")?;
    let bad = after("Non-2xx or 3xx responses: ").and_then(|count| count.trim().parse().ok());
    let broken = after("Socket errors: ").map_or(0.0, |counts| {
        let counts = counts.split(|c: char| !c.is_ascii_digit());
        counts.filter_map(|count| count.parse::<f64>().ok()).sum()
    });
    Some(Said {
        answers: answers.parse().ok()?,
        seconds: duration(rest.split(',').next()?)?,
        p99_seconds: Some(duration(after("99%")?.trim())?),
        failed: bad.unwrap_or(0.0) + broken,
    })
}

fn of_h2load(said: &str) -> Option<Said> {
    let line = |start: &str| said.lines().find_map(|line| line.strip_prefix(start));
    let seconds = duration(line("finished in ")?.split(',').next()?)?;
    let count = |line: &str, what: &str| -> Option<f64> {
        let part = line.split(", ").find(|part| part.trim().ends_with(what))?;
        part.trim().strip_suffix(what)?.trim().parse().ok()
    };
    let requests = line("requests: ")?;
    let answers = count(line("status codes: ")?, "2xx")?;
    let done = count(requests, "done")?;
    let failed = count(requests, "failed")? + (done - answers).max(0.0);
    Some(Said { answers, seconds, p99_seconds: None, failed })
}

/// "1.10s", "612.00us", "1.20ms", "1.02m".
fn duration(text: &str) -> Option<f64> {
    let number_ends = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..number_ends].trim().parse().ok()?;
    let unit = match &text[number_ends..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(number * unit)
}
