//! Keys, certificates and hashed files for tests, made by the real `ssh-keygen`.

use std::{fs, path::PathBuf, process::Command};

use russh::keys::{Certificate, PublicKey};

/// An RSA key of 768 bits, which `ssh-keygen` no longer makes: `openssl genrsa -traditional 768`.
pub(super) const TINY: &str = "-----BEGIN RSA PRIVATE KEY-----
MIIBygIBAAJhANe8OeODB3ddzyvR2NAJ4uzUsk+LlqoC7ki/tZv/pCttel/3hyZC
mbALm13V3deQ+4pE3w/XCbamfrAfloI85hjonJJyeopTrK+VwHy6u0ba98LtKd0j
jugil3jewyK/lwIDAQABAmAXEamfCoPh38YniWkF1gjOCnCG0QZrZ6TTYqyo4c1M
V4ieenmZPcXxbUxP3G68fmQ1NeZNjJvMZ8vmp+8noMIzoaekRnh5ZOHdh+Ar59y8
c8AJXATC5NolHB319K6HAgECMQD1i5QczrBFS47RuQtbpVO/nzQksjLdEWaBZqsZ
BqpG5NESM9JqybNQA4FfPzWwkP8CMQDg67i0Yy+dpNyjOn7kjLEqY0woRH10E7B3
eM+y5gP72jl/xa8oWyKJR+Ms0HwRuWkCMCwTZf7VyyZlLbnPsY492w6mkUGVCzRL
j07jEwtm+uHG6RCPZNHuatWOC4cBXa3YGQIxANnOawcEJdAbHi5TLx5TwBy0G8PC
z1ng1zpam4c6hxEUuimpXX1PA5q9KpjzK7JeQQIwEGKXgPVQx2JXqO0uIRlsRosa
WyoYvTjD4/ZU9tbyLLIPhPv06QjmOYxgju78cVkM
-----END RSA PRIVATE KEY-----";

/// A directory of keys, removed when dropped.
pub(super) struct Keygen {
    directory: tempfile::TempDir,
}

impl Keygen {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// Makes a key of a type as `ssh-keygen -t` names it, with options after it.
    pub(super) fn key(&self, name: &str, kind: &str) -> PublicKey {
        let options: Vec<_> = kind.split(' ').collect();
        self.run(&[&["-q", "-N", "", "-C", "", "-f", name, "-t"], &options[..]].concat());
        self.public(name)
    }

    /// Makes a key as options say, encrypted where there is a passphrase, and returns the private key's file.
    pub(super) fn private(&self, name: &str, options: &[&str], passphrase: &str) -> String {
        let arguments = ["-q", "-N", passphrase, "-C", "", "-f", name];
        self.run(&[&arguments, options].concat());
        self.read(name)
    }

    /// The public half of the key `name`.
    pub(super) fn public(&self, name: &str) -> PublicKey {
        PublicKey::from_openssh(&self.read(&format!("{name}.pub"))).unwrap()
    }

    /// Signs the key `name` by `authority`; `options` say for whom and until when.
    pub(super) fn certificate(&self, name: &str, authority: &str, options: &[&str]) -> Certificate {
        let file = format!("{name}.pub");
        self.run(&[&["-q", "-s", authority, "-I", "test"], options, &[&file]].concat());
        Certificate::from_openssh(&self.read(&format!("{name}-cert.pub"))).unwrap()
    }

    /// Hashes the names of a known_hosts text.
    pub(super) fn hash(&self, known_hosts: &str) -> String {
        fs::write(self.path("known_hosts"), known_hosts).unwrap();
        self.run(&["-H", "-f", "known_hosts"]);
        self.read("known_hosts")
    }

    /// Whether OpenSSH finds a name, as a lookup spells it, in a known_hosts text.
    pub(super) fn finds(&self, known_hosts: &str, name: &str) -> bool {
        fs::write(self.path("known_hosts"), known_hosts).unwrap();
        let arguments = ["-F", name, "-f", "known_hosts"];
        let output = Command::new("ssh-keygen").args(arguments).current_dir(self.directory.path()).output().unwrap();
        output.status.success() && !output.stdout.is_empty()
    }

    /// What `ssh-keygen -l` says of the key `name`.
    pub(super) fn fingerprint(&self, name: &str) -> String {
        let output = self.run(&["-l", "-f", &format!("{name}.pub")]);
        output.split(' ').nth(1).unwrap().to_owned()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("ssh-keygen").args(arguments).current_dir(self.directory.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
