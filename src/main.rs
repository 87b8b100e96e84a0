//! The `webshell` command: reads the command line, starts telemetry, hands over to a role.

use std::io::{self, Write as _};

use clap::Parser as _;
use webshell::{
    api,
    cli::{Cli, Command},
    local,
    telemetry::logs,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    logs::start(cli.log_format, cli.log_level)?;
    match cli.command {
        Command::Local(arguments) => local::run(*arguments).await?,
        Command::Crd => io::stdout().write_all(api::crd_yaml()?.as_bytes())?,
    }
    Ok(())
}
