// The real binary: `webshell local` on free ports, with a home of its own.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './wait.js';

const built = fileURLToPath(new URL('../../../target/debug/webshell', import.meta.url));
const { WEBSHELL: binary = built, PATH } = process.env;

/** What a person's log-in shell in the demo target reads: nothing of this machine shows. */
const PROFILE = "unset PROMPT_COMMAND; PS1='ready> '; HISTFILE=\n";

/** The environment of the gateway, and through it of the shells in its demo target. */
export function environment(home) {
  return { PATH, HOME: home, XDG_STATE_HOME: home, USER: 'demo', LOGNAME: 'demo', SHELL: '/bin/bash' };
}

/** A running gateway. */
export class Gateway {
  #output = '';
  #log = '';

  /**
   * Starts one that serves `manifests` (objects), or the demo target without them. `origin` is that of a proxy in front
   * of it, if there is one.
   */
  static async start({ manifests, origin } = {}) {
    const gateway = new Gateway();
    gateway.home = mkdtempSync(join(tmpdir(), 'webshell-browser-'));
    writeFileSync(join(gateway.home, '.bash_profile'), PROFILE);
    const options = ['local', '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--drain-timeout', '0s'];
    if (origin) options.push('--allow-origin', origin);
    if (manifests) {
      const file = join(gateway.home, 'manifests.yaml');
      writeFileSync(file, manifests.map((manifest) => JSON.stringify(manifest)).join('\n---\n'));
      options.push('--file', file);
    }
    gateway.process = spawn(binary, options, { env: environment(gateway.home), stdio: ['ignore', 'pipe', 'pipe'] });
    gateway.process.stdout.on('data', (data) => (gateway.#output += data));
    gateway.process.stderr.on('data', (data) => (gateway.#log += data));
    await until(
      () => `the gateway prints its address: ${gateway.#log}`,
      () => gateway.urls.length > 0,
    );
    return gateway;
  }

  /** All addresses it has printed, the newest last; each logs in once. */
  get urls() {
    return this.#output
      .split('\n')
      .slice(0, -1)
      .map((line) => line.replace(/^.*: /, ''));
  }

  get url() {
    return this.urls.at(-1);
  }

  get port() {
    return Number(new URL(this.url).port);
  }

  async stop() {
    // The second signal does not wait for sessions.
    this.process.kill('SIGTERM');
    this.process.kill('SIGINT');
    await until(
      () => `the gateway ends: ${this.#log}`,
      () => this.process.exitCode !== null || this.process.signalCode !== null,
    );
    rmSync(this.home, { recursive: true, force: true });
  }
}
