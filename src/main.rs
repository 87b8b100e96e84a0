//! The `webshell` command: reads the command line, starts telemetry, hands over to a role.

use std::{
    alloc::System,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use tokio::runtime::Builder;
use webshell::{
    api,
    cli::{Cli, Command},
    cluster, controller, local, memory, portal, probe,
    telemetry::logs,
};
use zeroizing_alloc::ZeroAlloc;

/// Wipes memory that is released. Types that wipe themselves are not enough: parsers and protocols copy what passes through
/// them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    if let Err(error) = memory::forbid_dumps() {
        let _ = writeln!(io::stderr(), "webshell: core dumps cannot be switched off: {error}");
    }
    let cli = Cli::parse();
    let runtime = match cli.command {
        // All that it does is one stream of reconciles, which is only held up by handing its calls to other threads.
        Command::Controller(_) => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().enable_all().build(),
    };
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // For people: what `main` itself would print has quotes and, where it is switched on, a backtrace.
            let _ = writeln!(io::stderr(), "webshell: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let logs = logs::start(cli.log_format, cli.log_level)?;
    match cli.command {
        Command::Local(arguments) => local::run(*arguments).await?,
        Command::Controller(arguments) => controller::run(arguments).await?,
        Command::Portal(arguments) => portal::run(arguments).await?,
        Command::Gateway(arguments) => cluster::run(arguments, logs).await?,
        Command::Ping(arguments) => probe::run(arguments).await?,
        Command::Crd => io::stdout().write_all(api::crd_yaml()?.as_bytes())?,
    }
    Ok(())
}
