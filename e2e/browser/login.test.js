// Who may open a terminal: the address that `webshell local` prints works once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { demo, Stage } from './support/stage.js';

/** What Chromium itself writes to the console at an answer 401. */
const NOT_LOGGED_IN = /401|HTTP Authentication failed/;

test('the printed address opens a terminal, in which one types and sees output', async (t) => {
  const { terminal, page } = await demo(t);
  assert.equal(new URL(page.url()).hash, '', 'the ticket stays in no history');
  await terminal.enters('echo six times seven is $((6 * 7))');
  await terminal.shows('six times seven is 42');
  assert.equal(await terminal.focused(), 'Terminal input');
  // What the terminal holds is what is drawn.
  const drawn = await page.locator('.xterm-rows > div').allTextContents();
  assert.deepEqual(drawn.map((row) => row.replaceAll('\u00a0', ' ').trimEnd()).filter(Boolean), await terminal.lines());
});

test('programs find colours and UTF-8', async (t) => {
  const { terminal } = await demo(t);
  await terminal.enters('echo "[$TERM $COLORTERM $LANG]"; locale charmap');
  await terminal.shows('[xterm-256color truecolor C.UTF-8]');
  await terminal.shows(/^UTF-8$/);
  await terminal.enters(String.raw`printf '\033[38;2;1;2;3mtrue\033[m%s\n' colour`);
  await terminal.shows('truecolour');
  assert.match((await terminal.screen()).rows.join('\n'), /⟨3:10203⟩true⟨⟩colour/);
});

test('a used ticket says so, and the next one opens the same page', async (t) => {
  const { gateway, stage } = await demo(t, { expected: NOT_LOGGED_IN });
  const [used, next] = gateway.urls;
  stage.context = await stage.context.browser().newContext();
  stage.later(() => stage.context.close());
  const other = await stage.visit(used);
  await other.says('You are not logged in', 'An address works once.');
  await other.page.goto(next);
  await other.prompts();
});

test('a page without a log-in says what to do', async (t) => {
  const stage = await Stage.set(t, { expected: NOT_LOGGED_IN });
  const gateway = await stage.gateway();
  const terminal = await stage.visit(gateway.url.replace(/#.*/, ''));
  await terminal.says('You are not logged in');
});
