//! The `brim` command.

fn main() -> std::process::ExitCode {
    brim::cli::main()
}
