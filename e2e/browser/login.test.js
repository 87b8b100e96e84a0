// Who may open a terminal: the address that `webshell local` prints works once, for the origin that it is of.

import assert from 'node:assert/strict';
import { createServer, request } from 'node:http';
import { test } from 'node:test';
import { Gateway } from './support/gateway.js';
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

test('a log-in lasts over a reload, in a second tab, and in one that the list leads to', async (t) => {
  const { terminal, page, stage } = await demo(t);
  await terminal.enters('echo this is $$');
  const [, shell] = await terminal.shows(/this is (\d+)/);
  await terminal.reload();
  await terminal.enters('echo still $$');
  await terminal.shows(`still ${shell}`);
  await (await stage.visit(page.url())).prompts();
  const list = await stage.visit(new URL('/', page.url()).href);
  await list.page.getByRole('link', { name: 'demo/terminal' }).click();
  await list.prompts();
});

/** A server of somebody else on this computer, at another port; what it was asked, and where it is. */
async function neighbour(stage, answer = (response) => response.end('<!doctype html>')) {
  const asked = [];
  const server = createServer((incoming, response) => {
    asked.push(incoming.headers);
    response.setHeader('Content-Type', 'text/html');
    answer(response);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  stage.later(() => server.closeAllConnections());
  stage.later(() => server.close());
  return { asked, origin: `http://127.0.0.1:${server.address().port}` };
}

/** The status of an answer to a program that says what a page of the gateway would. */
function statusOf(url, headers) {
  const own = { Origin: new URL(url).origin, ...headers };
  return new Promise((resolve, reject) => {
    const sent = request(url, { headers: own }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve(response.statusCode);
    });
    sent.on('error', reject);
    sent.end();
  });
}

const HANDSHAKE = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

test('what a browser tells another port of the computer opens nothing', async (t) => {
  const { terminal, page, gateway, stage } = await demo(t);
  const theirs = await neighbour(stage);
  const led = await stage.visit(theirs.origin);
  const { cookie } = theirs.asked[0];
  assert.match(cookie, new RegExp(`webshell-${gateway.port}=`), 'browsers send it to every port');
  const session = new URL('/-/session', page.url()).href;
  assert.equal(await statusOf(session, { Cookie: cookie }), 401);
  assert.equal(await statusOf(`${page.url()}ws`, { ...HANDSHAKE, Cookie: cookie }), 401);
  assert.equal(await led.page.evaluate(() => localStorage.length), 0, 'what the page keeps is of its origin alone');
  const key = await page.evaluate(() => localStorage.getItem('webshell.key'));
  assert.equal(await statusOf(session, { Cookie: cookie, 'WebShell-Key': key }), 200, 'with the key it would have');
  await terminal.enters('echo the terminal goes on');
  await terminal.shows('the terminal goes on');
});

test('a cookie that another port of the computer sets logs nobody in as somebody else', async (t) => {
  const { terminal, page, gateway, stage } = await demo(t, { expected: NOT_LOGGED_IN });
  const ticket = new URL(gateway.url).hash.replace('#ticket=', '');
  const origin = new URL(page.url()).origin;
  const login = { method: 'POST', headers: { Origin: origin }, body: JSON.stringify({ ticket }) };
  const [theirCookie] = (await fetch(`${origin}/-/session`, login)).headers.getSetCookie();
  const theirs = await neighbour(stage, (response) => response.setHeader('Set-Cookie', theirCookie).end());
  await stage.visit(theirs.origin);
  await page.reload();
  await terminal.says('You are not logged in');
});

test('a page of an allowed origin logs in by itself and speaks raw bytes', async (t) => {
  const stage = await Stage.set(t, { expected: /WebSocket connection to .* failed|40[01]/ });
  const tools = await neighbour(stage);
  const gateway = await Gateway.start({ origin: tools.origin });
  stage.later(() => gateway.stop());
  const { page } = await stage.visit(tools.origin);
  const { origin, hash, pathname } = new URL(gateway.url);
  const key = await page.evaluate(
    async ({ url, ticket }) => {
      const body = JSON.stringify({ ticket });
      const answer = await fetch(url, { method: 'POST', credentials: 'include', body });
      return (await answer.json()).key;
    },
    { url: `${origin}/-/session`, ticket: hash.replace('#ticket=', '') },
  );
  const opens = (subprotocols) =>
    page.evaluate(
      ({ url, subprotocols }) =>
        new Promise((resolve) => {
          const socket = new WebSocket(url, subprotocols);
          let text = '';
          socket.onopen = () => socket.send('echo six times seven is $((6 * 7)); exit\n');
          socket.onmessage = ({ data }) => (text += data);
          socket.onclose = () => resolve({ subprotocol: socket.protocol, text });
        }),
      { url: `${origin.replace('http', 'ws')}${pathname}ws`, subprotocols },
    );
  const opened = await opens(['webshell.raw', `webshell.key.${key}`]);
  assert.equal(opened.subprotocol, 'webshell.raw');
  assert.match(opened.text, /six times seven is 42/);
  for (const refused of [[], ['webshell.raw'], [`webshell.key.${key}`], ['webshell.raw', `webshell.key.${'0'.repeat(32)}`]]) {
    assert.deepEqual(await opens(refused), { subprotocol: '', text: '' }, String(refused));
  }
});

test('a page without a log-in says what to do', async (t) => {
  const stage = await Stage.set(t, { expected: NOT_LOGGED_IN });
  const gateway = await stage.gateway();
  const terminal = await stage.visit(gateway.url.replace(/#.*/, ''));
  await terminal.says('You are not logged in');
});
