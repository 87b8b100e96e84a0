// A real Dropbear server, for a user of its own who has a key and a password.

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, Sshd } from '../../browser/support/sshd.js';
import { until } from '../../browser/support/wait.js';

/** Starts one until the end of the test, at an address of this machine. */
export async function startDropbear(t, { user, address }) {
  const directory = mkdtempSync(join(tmpdir(), 'webshell-dropbear-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = (name) => join(directory, name);
  const made = execFileSync('dropbearkey', ['-t', 'ed25519', '-f', path('host_key')], { encoding: 'utf8' });
  writeFileSync(path('host_key.pub'), made.match(/^ssh-ed25519 \S+/m)[0]);
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', path('client')]);
  mkdirSync(join(user.home, '.ssh'), { mode: 0o700 });
  writeFileSync(join(user.home, '.ssh/authorized_keys'), readFileSync(path('client.pub')), { mode: 0o600 });
  execFileSync('chown', ['-R', user.name, user.home]);

  const log = () => readFileSync(path('log'), 'utf8');
  for (;;) {
    // Somebody else may take the port meanwhile; then the server ends at once.
    const port = await freePort();
    const options = ['-F', '-E', '-r', path('host_key'), '-p', `${address}:${port}`];
    const server = spawn('dropbear', options, { stdio: ['ignore', 'ignore', openSync(path('log'), 'w')] });
    await until('dropbear listens or has ended', () => server.exitCode !== null || log().includes('Not backgrounding'));
    if (server.exitCode !== null) {
      if (!log().includes('in use')) throw new Error(log());
      continue;
    }
    t.after(() => server.kill('SIGKILL'));
    return new Sshd(address, port, directory, log);
  }
}
