// Programs that draw the whole screen show what they show on a plain pty.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PlainTerminal } from './support/plain.js';
import { demo } from './support/stage.js';
import { until } from './support/wait.js';

/** Runs a scenario here and on a plain pty of the same size, and compares the screens after each of its steps. */
async function sameOnBoth(t, prepare, steps) {
  const { terminal, gateway, stage } = await demo(t);
  prepare(gateway.home);
  const plain = PlainTerminal.start({ ...(await terminal.size()), home: gateway.home });
  stage.later(() => plain.stop());
  await plain.shows('ready>');
  for (const [name, step] of Object.entries(steps)) {
    await step(terminal, 'page');
    await step(plain, 'plain');
    const screens = async () => [await terminal.screen(), await plain.screen()];
    await until('both have drawn the same', async () => {
      const [shown, wanted] = (await screens()).map((screen) => JSON.stringify(screen));
      return shown === wanted;
    }).catch(async () => assert.deepEqual(...(await screens()), name));
  }
}

const CODE = `fn main() {
    // Grüße, 世界
    let answer = 6 * 7;
    println!("{answer:>20}\\t{}", "é".repeat(300));
}
`;

test('vim draws the same as on a plain pty', async (t) => {
  const prepare = (home) => {
    writeFileSync(
      join(home, 'vimrc'),
      'set nocompatible background=dark number hlsearch laststatus=2 ruler\nsyntax on\n',
    );
    writeFileSync(join(home, 'main.rs'), CODE);
  };
  await sameOnBoth(t, prepare, {
    opened: async (terminal) => {
      // Each with a swap file of its own, else the second is asked about the first's.
      await terminal.enters('vim -n -i NONE -u vimrc main.rs');
      await terminal.shows('main.rs" 5');
      await terminal.shows('let answer');
    },
    'split and searched': async (terminal) => {
      await terminal.enters(':vsplit');
      await terminal.enters(':set nowrap');
      await terminal.enters('/answer');
      await terminal.shows('/answer');
    },
    'edited and selected': async (terminal) => {
      await terminal.types('Onew line 漢字');
      await terminal.presses('Escape');
      await terminal.types('Vjj');
      await terminal.shows('VISUAL LINE');
    },
    left: async (terminal) => {
      await terminal.presses('Escape');
      await terminal.enters(':qa!');
      await terminal.shows(/^ready>$/);
      await terminal.enters('clear; echo le"ft"');
      await terminal.shows(/^left$/);
    },
  });
});

test('tmux draws the same as on a plain pty', async (t) => {
  const settings = [
    "status-left '[tmux] '",
    "status-right ''",
    'automatic-rename off',
    'escape-time 0',
    'assume-paste-time 0',
  ];
  const prepare = (home) => {
    writeFileSync(join(home, 'tmux.conf'), settings.map((setting) => `set -g ${setting}\n`).join(''));
    writeFileSync(join(home, 'colours'), '\x1b[1;34mblue\x1b[m \x1b[48;2;9;90;9mgreen\x1b[m 漢字 e\u0301\n');
  };
  const command = async (terminal, text) => {
    await terminal.presses('Control+b');
    await terminal.types(':');
    await terminal.shows(/^:$/);
    await terminal.enters(text);
  };
  await sameOnBoth(t, prepare, {
    'two panes': async (terminal, name) => {
      await terminal.enters(`tmux -S ${name}.socket -f tmux.conf new-session -n first 'cat colours -'`);
      await terminal.shows('[tmux]');
      await command(terminal, "split-window -h 'cat colours -'");
      await terminal.shows(/blue.*│blue green/);
      await terminal.types('typed here');
      await terminal.shows('typed here');
    },
    'a pane that has scrolled, and a second window': async (terminal) => {
      await command(terminal, "split-window 'seq 500; echo counted; cat'");
      await terminal.shows('counted');
      await command(terminal, 'new-window -n second cat');
      await terminal.shows('1:second*');
      await terminal.presses('Control+b');
      await terminal.types('p');
      await terminal.shows('0:first*');
      await terminal.shows('counted');
    },
    left: async (terminal) => {
      await command(terminal, 'kill-server');
      await terminal.shows('[server exited]');
      await terminal.shows(/^ready>$/);
      await terminal.enters('clear; echo le"ft"');
      await terminal.shows(/^left$/);
    },
  });
});
