// What a session survives: a broken network, a reload, another tab.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { demo, demoOverNetwork } from './support/stage.js';
import { until } from './support/wait.js';

/** A program that counts, a line at a time, until Ctrl-C. The variable `noise` is printed after each number. */
const COUNTER = `noise=$noise sh -c 'trap exit INT; while i=$((i + 1)); do /bin/echo "n$i$noise"; done'`;

/** Waits until the counter is beyond a number, and returns where it is. */
async function counts(terminal, beyond = 0) {
  return until(`it counts beyond ${beyond}`, async () => {
    const last = (await terminal.lines(100)).findLast((line) => /^n\d+$/.test(line));
    return Number(last?.slice(1)) > beyond && Number(last.slice(1));
  });
}

/** Ends the counter and checks that no number is missing or comes twice; returns the first that is still held. */
async function countedWithoutGap(terminal) {
  await terminal.presses('Control+C');
  await terminal.prompts();
  const numbers = (await terminal.lines(20_000)).flatMap((line) => line.match(/^n(\d+)/)?.[1] ?? []).map(Number);
  const [first] = numbers;
  assert.deepEqual(
    numbers,
    Array.from(numbers, (_, index) => first + index),
  );
  return first;
}

test('a broken network loses nothing', async (t) => {
  const { terminal, network, page } = await demoOverNetwork(t);
  await terminal.enters(`${COUNTER} & read -rs line; kill %1; wait; echo "read: $line"`);
  const before = await counts(terminal, 10);
  network.cut();
  await terminal.says(/Connection lost, next try in \d+ s/, 'The shell goes on meanwhile');
  // What is typed while nothing gets through arrives later.
  await terminal.enters('typed offline');
  await terminal.is('waiting');
  network.mend();
  await terminal.button('Reconnect now').click();
  await terminal.is('connected');
  await page.getByText('Reconnected to the same shell.').waitFor();
  await terminal.shows(/read: typed offline$/);
  assert.ok((await countedWithoutGap(terminal)) <= before);
});

test('a broken network mends by itself', async (t) => {
  const { terminal, network } = await demoOverNetwork(t);
  await terminal.enters('mine=$$');
  for (let round = 0; round < 3; round++) {
    network.cut();
    await terminal.is('waiting');
    network.mend();
    await terminal.is('connected');
  }
  await terminal.enters('[ "$mine" = $$ ] && echo still the "same shell"');
  await terminal.shows('still the same shell');
});

test('a reload shows the same shell, screen and scrollback', async (t) => {
  const { terminal, page } = await demo(t);
  await terminal.enters(String.raw`mine=$$; seq 300; printf '\033[1;31mred\033[m \033]0;kept\007\n'`);
  await terminal.shows(/^red$/);
  await terminal.prompts();
  await terminal.types('echo half a li');
  await terminal.shows(/half a li$/);
  const [screen, lines] = [await terminal.screen(), await terminal.lines(1000)];
  await terminal.reload();
  await until('the title is back', async () => (await page.title()) === 'demo/terminal — kept');
  assert.deepEqual(await terminal.screen(), screen);
  assert.deepEqual(await terminal.lines(1000), lines);
  await terminal.hasFocus();
  await terminal.enters('ne; [ "$mine" = $$ ] && echo the "same shell"');
  await terminal.shows(/^half a line$/);
  await terminal.shows(/^the same shell$/);
});

test('a reload goes on at the same byte under heavy output', async (t) => {
  const { terminal } = await demo(t);
  // Many bytes and few rows, so that all numbers stay in the scrollback; most cuts fall into a sequence.
  await terminal.enters(String.raw`noise=$(printf '\033[38;5;1m\033[0m%.0s' $(seq 300)); ${COUNTER}`);
  let before = await counts(terminal, 50);
  for (let round = 0; round < 3; round++) {
    await terminal.reload();
    before = await counts(terminal, before + 50);
  }
  assert.ok((await countedWithoutGap(terminal)) <= before);
});

test('a reload within vim shows the same screen, and vim goes on', async (t) => {
  const { terminal } = await demo(t);
  await terminal.enters("seq 100 > file; vim -u NONE -N -i NONE -c 'set number hlsearch background=dark' -c '/5' file");
  await terminal.shows(/^ +7 7$/);
  await terminal.types('ihello-');
  // The last key, too: the screen must be at rest when it is read.
  await terminal.shows('hello-5');
  const screen = await terminal.screen();
  assert.equal(screen.buffer, 'alternate');
  await terminal.reload();
  assert.deepEqual(await terminal.screen(), screen);
  await terminal.types('world-');
  await terminal.shows('hello-world-5');
  await terminal.presses('Escape');
  await terminal.enters(':wq');
  await terminal.prompts();
  await terminal.enters('clear; grep hello file');
  await terminal.shows(/^hello-world-\d+$/);
});

test('another tab takes over, and the first takes back', async (t) => {
  const { terminal, page, stage } = await demo(t);
  await terminal.enters('mine=$$; echo $((6 * 7))');
  await terminal.shows(/^42$/);
  // What a duplicated tab begins with: a copy of the session storage.
  const storage = await page.evaluate(() => {
    window.dispatchEvent(new Event('pagehide'));
    return Object.entries(sessionStorage).filter(([key]) => key.startsWith('webshell.session:'));
  });
  assert.equal(storage.length, 1);
  await stage.context.addInitScript((entries) => {
    for (const [key, value] of entries) sessionStorage.setItem(key, value);
  }, storage);
  const other = await stage.visit(page.url());
  await other.is('connected');
  await other.shows(/^42$/);
  await terminal.says('This session is open elsewhere');
  await other.enters('[ "$mine" = $$ ] && echo "taken over"');
  await other.shows(/^taken over$/);
  await terminal.button('Continue here').click();
  await terminal.is('connected');
  // The other tab had seen it, so it is kept no longer.
  await terminal.shows('earlier output is gone');
  await other.says('This session is open elsewhere');
  await terminal.enters('echo "taken back"');
  await terminal.shows(/^taken back$/);
});
