//! Somebody else at work on the same gateway, whom nothing may disturb.

use super::{
    binary::{Binary, Manifest},
    browser::Client,
    sshd::Sshd,
};

/// A session on a server where all is well.
pub struct Bystander {
    client: Client,
    count: u32,
}

impl Bystander {
    /// The shell to be served for it.
    pub fn manifest(sshd: &Sshd) -> Manifest {
        Manifest::of("good", sshd)
    }

    pub async fn begin(binary: &Binary) -> Self {
        let mut client = binary.endpoint("good").open().await;
        client.connected().await;
        let mut bystander = Self { client, count: 0 };
        bystander.works().await;
        bystander
    }

    /// Runs a command and sees what it puts out.
    pub async fn works(&mut self) {
        self.count += 1;
        // What the terminal echoes is not the answer.
        self.client.input(format!("echo answer $(({} + 0)) is here\r", self.count)).await;
        self.client.read_until(&format!("answer {} is here", self.count)).await;
    }
}
