// The page around the terminal: keyboard, screen readers, settings, search.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { demo } from './support/stage.js';
import { until } from './support/wait.js';

test('all is reached by the keyboard alone', async (t) => {
  const { terminal, page } = await demo(t);
  await terminal.presses('Control+Shift+F6');
  assert.equal(await terminal.focused(), 'Search');
  const passed = [];
  do {
    passed.push(await terminal.focused());
    await terminal.presses('Tab');
  } while ((await terminal.focused()) !== 'Settings and keys');
  assert.deepEqual(passed, ['Search', 'Smaller text', 'Larger text', 'Mute the bell', 'Full screen']);
  await terminal.presses('Enter');
  const dialog = page.getByRole('dialog', { name: 'Settings' });
  await dialog.waitFor();
  await terminal.presses('Escape');
  await dialog.waitFor({ state: 'detached' });
  await terminal.hasFocus();
  await terminal.presses('Control+Shift+F6');
  await terminal.presses('Escape');
  await terminal.hasFocus();
  // Tab is the shell's while there is one.
  await terminal.types('echo $((6 * 7)); : /etc/passw');
  await terminal.presses('Tab');
  await terminal.presses('Enter');
  await terminal.shows(': /etc/passwd');
  await terminal.shows(/^42$/);
});

test('a screen reader is given the lines and told the state', async (t) => {
  const { terminal, page } = await demo(t);
  await terminal.button('Settings and keys').click();
  await page.getByLabel('Screen reader mode').check();
  await terminal.button('Close').click();
  await terminal.hasFocus();
  await terminal.enters('echo read $((6 * 7)) aloud');
  await page
    .getByRole('listitem')
    .filter({ hasText: /^read 42 aloud/ })
    .first()
    .waitFor({ state: 'attached' });
  const states = page.getByRole('banner').getByRole('status');
  assert.equal(await states.textContent(), 'Connected');
  await terminal.enters('exit');
  await until('the end is told', async () => /status 0/.test(await states.textContent()));
});

test('settings hold at once, and after a reload', async (t) => {
  const { terminal, page } = await demo(t);
  const background = () =>
    page.evaluate(() => getComputedStyle(document.querySelector('.xterm-scrollable-element')).backgroundColor);
  await terminal.button('Settings and keys').click();
  await page.getByLabel('Colours').selectOption('Dark');
  const dark = await background();
  await page.getByLabel('Colours').selectOption('Light');
  await until('it is light', async () => (await background()) !== dark);
  const light = await background();
  await page.getByLabel('Text size').fill('20');
  await page.getByLabel('Lines kept above the screen').fill('100');
  await terminal.button('Close').click();
  await terminal.button('Mute the bell').click();
  await terminal.reload();
  const { fontSize, scrollback } = await page.evaluate(() => ({ ...window.webshell.term.options }));
  assert.deepEqual({ fontSize, scrollback }, { fontSize: 20, scrollback: 100 });
  await terminal.button('Let the bell sound').waitFor();
  assert.equal(await background(), light);
});

test('search finds what has scrolled away', async (t) => {
  const { terminal, page } = await demo(t);
  await terminal.enters('echo nee"dle" one; seq 200; echo nee"dle" two');
  await terminal.shows('needle two');
  await terminal.prompts();
  await terminal.presses('Control+Shift+F');
  await terminal.types('needle');
  const count = page.getByRole('search').getByRole('status');
  const counts = (text) => until(`${text} is found`, async () => (await count.textContent()) === text);
  await counts('2 of 2');
  const bottom = () => page.evaluate(() => window.webshell.term.buffer.active.viewportY);
  const before = await bottom();
  await terminal.presses('Enter');
  await counts('1 of 2');
  assert.ok((await bottom()) < before, 'it has scrolled there');
  await terminal.types('less');
  await counts('None');
  await terminal.presses('Escape');
  await until('the search is gone', async () => !(await page.getByRole('search').isVisible()));
  await terminal.hasFocus();
});

test('what is selected is copied with Ctrl-Shift-C, and Ctrl-C is the shell’s', async (t) => {
  const { terminal, page, stage } = await demo(t);
  await stage.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await terminal.enters('clear; echo co"pied"');
  await terminal.shows(/^copied$/);
  const row = page.locator('.xterm-rows > div').filter({ hasText: /^copied/ });
  const box = await row.boundingBox();
  await page.mouse.dblclick(box.x + 20, box.y + box.height / 2);
  await terminal.presses('Control+Shift+C');
  await until('it is copied', async () => (await page.evaluate(() => navigator.clipboard.readText())) === 'copied');
  await terminal.types('never run');
  await terminal.shows('never run');
  await terminal.presses('Control+C');
  await terminal.prompts();
});
