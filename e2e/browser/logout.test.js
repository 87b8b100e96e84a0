// What log-out leaves to the next person at the same browser: nothing to see.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { demo } from './support/stage.js';
import { TerminalPage } from './support/terminal.js';
import { until } from './support/wait.js';

/** What was on a screen, put together by the shell so that it is nowhere else. */
const SECRET = 'the balance is 1764';
const PRINT_SECRET = 'echo the balance is $((42 * 42))';

/** After log-out everything is refused. */
const EXPECTED = /401|HTTP Authentication failed|WebSocket connection to/;

const PORTAL = 'https://portal.test';

/**
 * A terminal with a secret on its screen, in a browser that believes to have come from a portal: the page then has its button to log out.
 */
async function secretOnScreen(t) {
  const started = await demo(t, { expected: EXPECTED });
  const { stage, terminal } = started;
  await stage.context.route('**/-/session', async (route) => {
    if (route.request().method() !== 'GET') return route.continue();
    const response = await route.fetch();
    if (!response.ok()) return route.fulfill({ response });
    await route.fulfill({ response, json: { ...(await response.json()), portal: PORTAL } });
  });
  await stage.context.route(`${PORTAL}/**`, (route) =>
    route.fulfill({ contentType: 'text/html', body: '<link rel="icon" href="data:,"><h1>The portal</h1>' }),
  );
  await terminal.enters(PRINT_SECRET);
  await terminal.shows(SECRET);
  return started;
}

/** Logs out in a tab, as a person does. */
async function logOut(page) {
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('heading', { name: 'The portal' }).waitFor();
}

/** All that a tab shows, in whichever way, and all that it keeps. */
function traces(page) {
  return page.evaluate(() => {
    const buffer = window.webshell?.term.buffer;
    const lines = [buffer?.normal, buffer?.alternate].flatMap((screen) =>
      screen ? Array.from({ length: screen.length }, (_, y) => screen.getLine(y)?.translateToString()) : [],
    );
    return JSON.stringify([document.title, document.body.innerText, lines, { ...sessionStorage }, { ...localStorage }]);
  });
}

async function showsNothing(page) {
  await until(
    async () => `nothing is left: ${await traces(page)}`,
    async () => !(await traces(page)).includes(SECRET),
  );
}

test('a log-out clears the screens and the storage of all tabs, and leaves the settings', async (t) => {
  const { stage, gateway, terminal } = await secretOnScreen(t);
  const { origin, pathname } = new URL(terminal.page.url());
  await terminal.page.evaluate(() => localStorage.setItem('webshell.settings', '{"fontSize":17}'));
  // A session that ended, whose last screen is still there.
  const ended = new TerminalPage(await stage.newPage());
  await ended.page.goto(origin + pathname);
  await ended.prompts();
  await ended.enters(PRINT_SECRET);
  await ended.shows(SECRET);
  await ended.enters('exit');
  await ended.is('ended');
  // A tab whose terminal was left for the list: its screen is kept for the way back.
  const left = new TerminalPage(await stage.newPage());
  await left.page.goto(origin + pathname);
  await left.prompts();
  await left.enters(PRINT_SECRET);
  await left.shows(SECRET);
  await left.page.goto(`${origin}/`);
  assert.match(await traces(left.page), new RegExp(SECRET), 'it is kept');
  const list = await stage.newPage();
  await list.goto(`${origin}/`);

  await logOut(list);
  await terminal.is('ended');
  await terminal.says('You logged out');
  for (const { page } of [terminal, ended]) await showsNothing(page);
  await until(
    () => 'the list that lay open is loaded again',
    async () => (await left.page.locator('body').innerText()).includes('You are not logged in'),
  );
  await showsNothing(left.page);

  // The next person, in the same tabs.
  await stage.visit(gateway.url);
  for (const tab of [terminal, ended, left]) {
    await tab.page.goto(origin + pathname);
    await tab.prompts();
    await showsNothing(tab.page);
    assert.equal(await tab.page.evaluate(() => webshell.term.options.fontSize), 17);
  }
});

test('a screen that was kept is shown to nobody whom the gateway does not let go on with its session', async (t) => {
  const { stage, gateway, terminal } = await secretOnScreen(t);
  const shell = terminal.page.url();
  const origin = new URL(shell).origin;
  // This tab is elsewhere, where no page of ours hears of the log-out, and nothing empties its storage.
  await terminal.page.goto(`${PORTAL}/elsewhere`);
  await stage.context.route('**/-/session', async (route) => {
    if (route.request().method() !== 'DELETE') return route.fallback();
    const response = await route.fetch();
    const { 'clear-site-data': cleared, ...headers } = response.headers();
    assert.equal(cleared, '"storage"');
    await route.fulfill({ response, headers });
  });
  const list = await stage.newPage();
  await list.goto(`${origin}/`);
  await logOut(list);

  const next = await stage.visit(gateway.url);
  await next.prompts();
  await next.enters('echo something of the next person');
  await next.shows(/^something of the next person/);
  await terminal.page.addInitScript((secret) => {
    const look = () => {
      if (document.body?.innerText.replaceAll('\u00a0', ' ').includes(secret)) window.wasShown = true;
      requestAnimationFrame(look);
    };
    look();
  }, SECRET);
  await terminal.page.goto(shell);
  await terminal.is('ended');
  await showsNothing(terminal.page);
  await terminal.page.keyboard.press('Enter');
  await terminal.prompts();
  await showsNothing(terminal.page);
  assert.equal(await terminal.page.evaluate(() => window.wasShown), undefined, 'not for a moment');
  await next.shows(/^something of the next person/);
});
