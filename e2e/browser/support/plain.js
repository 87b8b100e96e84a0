// A program on a plain pty of this machine, its output shown by a terminal without a browser: what a screen should be.

import { spawn } from 'node:child_process';
import headless from '@xterm/headless';
import { environment } from './gateway.js';
import { linesOf, matching, screenOf } from './screen.js';
import { until } from './wait.js';

/** The bytes of the keys that scenarios press. */
const KEYS = { Enter: '\r', Escape: '\x1b', 'Control+b': '\x02' };

/** A shell on a pty that script(1) opens. It is driven as a terminal in a page is. */
export class PlainTerminal {
  static start({ cols, rows, home }) {
    const plain = new PlainTerminal();
    plain.terminal = new headless.Terminal({ cols, rows, allowProposedApi: true, logLevel: 'off' });
    const env = { ...environment(home), TERM: 'xterm-256color', COLORTERM: 'truecolor', LANG: 'C.UTF-8' };
    const shell = `stty cols ${cols} rows ${rows}; exec bash --login`;
    plain.process = spawn('script', ['--quiet', '--flush', '--command', shell, '/dev/null'], { env, cwd: home });
    plain.process.stdout.on('data', (data) => plain.terminal.write(data));
    plain.terminal.onData((text) => plain.process.stdin.write(text));
    return plain;
  }

  async types(text) {
    this.process.stdin.write(text);
  }

  async presses(key) {
    await this.types(KEYS[key]);
  }

  async enters(line) {
    await this.types(`${line}\r`);
  }

  async shows(text) {
    await until(
      () => `a plain terminal shows ${text}:\n${linesOf(this.terminal, 50).join('\n')}`,
      () => linesOf(this.terminal, 500).some((line) => matching(text).test(line)),
    );
  }

  async screen() {
    return screenOf(this.terminal);
  }

  stop() {
    this.process.kill('SIGKILL');
  }
}
