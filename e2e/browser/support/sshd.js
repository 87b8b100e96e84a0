// A real OpenSSH server on loopback, with its own keys and configuration, and the manifests that lead to it.

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { basename, join } from 'node:path';
import { until } from './wait.js';

/** PAM that asks for the account's password. */
const PAM = 'auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n';

/** The tests' own user is the one who may log in with the key; questions need accounts, and so root. */
export const needsRoot = process.getuid() === 0 ? false : 'needs to be root';

/**
 * Starts a server until the end of the test, at an address of this machine. `asks`: it asks questions, by PAM; `says`: and says
 * this first.
 */
export async function startSshd(t, { says = '', asks = says !== '', config = [], address = '127.0.0.1' } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'webshell-sshd-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = (name) => join(directory, name);
  for (const name of ['host_key', 'other_key', 'client']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', path(name)]);
  }
  mkdirSync(path('home'));
  // Where the server drops its rights; distributions make it when they start theirs.
  if (!needsRoot) mkdirSync('/run/sshd', { recursive: true });
  // The name that the server is started by is the name of its PAM service.
  const binary = path(basename(directory));
  symlinkSync('/usr/sbin/sshd', binary);
  if (asks) {
    // PAM looks for it in lower case.
    const service = join('/etc/pam.d', basename(directory).toLowerCase());
    writeFileSync(path('words'), says);
    writeFileSync(service, says ? `auth optional pam_echo.so file=${path('words')}\n${PAM}` : PAM);
    t.after(() => rmSync(service));
  }
  const lines = [
    ...config,
    `ListenAddress ${address}`,
    'PermitRootLogin yes',
    'StrictModes no',
    'PidFile none',
    'PasswordAuthentication no',
    `KbdInteractiveAuthentication ${asks ? 'yes' : 'no'}`,
    `UsePAM ${asks ? 'yes' : 'no'}`,
    'UseDNS no',
    'PrintMotd no',
    // The start-up files of whoever runs the tests may print, wait for others, or run any program.
    `SetEnv HOME=${path('home')}`,
    'PrintLastLog no',
    'AcceptEnv LANG COLORTERM',
    `HostKey ${path('host_key')}`,
    `AuthorizedKeysFile ${path('client.pub')}`,
  ];
  writeFileSync(path('sshd_config'), `${lines.join('\n')}\n`);
  const log = () => readFileSync(path('log'), 'utf8');
  for (;;) {
    // Somebody else may take the port meanwhile; then the server ends at once.
    const port = await freePort();
    const stderr = openSync(path('log'), 'w');
    const options = ['-D', '-e', '-f', path('sshd_config'), '-o', `Port ${port}`];
    const server = spawn(binary, options, { stdio: ['ignore', 'ignore', stderr] });
    await until('sshd listens or has ended', () => server.exitCode !== null || log().includes('Server listening'));
    if (server.exitCode !== null) {
      if (!log().includes('Address already in use')) throw new Error(log());
      continue;
    }
    t.after(() => server.kill('SIGKILL'));
    return new Sshd(address, port, directory, log);
  }
}

/** A running server whose keys are in `directory`. */
export class Sshd {
  constructor(address, port, directory, log) {
    this.address = address;
    this.port = port;
    this.directory = directory;
    this.log = log;
    /** A command: bash with the prompt that tests wait for, and nothing of the user's own. */
    this.bash = "exec env PS1='ready> ' HISTFILE= bash --norc --noprofile";
  }

  /** The known_hosts line of this server, or with a key that it does not have. */
  knownHosts(key = 'host_key') {
    return `[${this.address}]:${this.port} ${this.#read(`${key}.pub`)}\n`;
  }

  /** The fingerprint of a key. */
  fingerprint(key = 'host_key') {
    return execFileSync('ssh-keygen', ['-lf', join(this.directory, `${key}.pub`)], { encoding: 'utf8' }).split(' ')[1];
  }

  /** A WebShell for this server and its Secret, which log in unless `spec` or `secret` say otherwise. */
  manifests({ secret, namespace = 'test', name = 'vm', ...spec } = {}) {
    const metadata = { name, namespace };
    return [
      {
        apiVersion: 'webshell.dev/v1alpha1',
        kind: 'WebShell',
        metadata,
        spec: {
          target: { host: this.address, port: this.port, user: userInfo().username },
          credentials: { secretRef: { name } },
          hostKey: { knownHosts: this.knownHosts() },
          ...spec,
        },
      },
      {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata,
        stringData: secret ?? { 'ssh-privatekey': `${this.#read('client')}\n` },
      },
    ];
  }

  #read(name) {
    return readFileSync(join(this.directory, name), 'utf8').trim();
  }
}

/** A user account of this machine until the end of the test. Needs to be root. */
export function createUser(t) {
  const name = `wsh${process.pid}`;
  const home = mkdtempSync(join(tmpdir(), 'webshell-user-'));
  const password = 'correct horse';
  execFileSync('useradd', ['--no-user-group', '--no-create-home', '--home-dir', home, '--shell', '/bin/sh', name]);
  t.after(() => {
    // What still runs as that user does not keep the account.
    execFileSync('userdel', ['--force', name], { stdio: 'ignore' });
    rmSync(home, { recursive: true, force: true });
  });
  execFileSync('chpasswd', { input: `${name}:${password}\n` });
  execFileSync('chown', [name, home]);
  return { name, password, home };
}

/** A port that nothing listens on. */
export async function freePort() {
  const server = createServer();
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}
