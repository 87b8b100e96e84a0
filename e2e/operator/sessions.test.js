// Sessions go on, each for itself, whatever is done around them: sessions in other namespaces, a controller that is replaced,
// upgrades.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { eventually, get, kubectl } from './support/cluster.js';
import { restartController } from './support/controller.js';
import { installForAll, NEXT_TAG, SYSTEM, upgrade } from './support/installation.js';
import { Overheard, readable } from './support/overheard.js';
import { sshdFor } from './support/place.js';
import { cookiesOf, handshake, send } from './support/raw.js';
import { Tenant } from './support/tenant.js';
import { InstalledStage, User } from './support/user.js';

const PORTAL = 'https://shell.test';

const VALUES = {
  'route.mode': 'Host',
  'route.kind': 'Ingress',
  'gateway.drainTimeout': '30s',
};

installForAll(VALUES);

/** A namespace with a shell that a user has open. */
async function session(t, options) {
  const [sshd, tenant] = [await sshdFor(t), await Tenant.create(t)];
  await tenant.shell(sshd, 'db-1');
  await tenant.isReady('db-1');
  const stage = await InstalledStage.set(t, options);
  const terminal = await tenant.opens('db-1', { stage });
  await terminal.prompts();
  return { tenant, stage, terminal };
}

/** The process of the shell in a terminal. */
async function shellOf(terminal) {
  await terminal.enters('echo this shell is $$.');
  return (await terminal.shows(/^this shell is (\d+)\.$/))[1];
}

/** Shows that a terminal still leads to the same shell. */
async function goesOn(terminal, shell, word) {
  await terminal.enters(`echo ${word}: $$ goes on`);
  await terminal.shows(`${word}: ${shell} goes on`);
}

const KINDS = 'webshells,configmaps,serviceaccounts,rolebindings,deployments,services,ingresses,networkpolicies,pods';

/** Every object of a namespace, in the version that it has. */
async function versions(tenant) {
  const { items } = await tenant.get(KINDS);
  return items.map(({ kind, metadata }) => `${kind}/${metadata.name} ${metadata.uid} ${metadata.resourceVersion}`);
}

test('ten namespaces have ten gateways, and nothing of one is seen or of use in another', async (t) => {
  const sshd = await sshdFor(t);
  const tenants = await Promise.all(Array.from({ length: 10 }, () => Tenant.create(t)));
  const [first, second] = tenants;
  const [ada, ben] = [await User.create(first.namespace), await User.create(second.namespace, { name: 'ben' })];
  await Promise.all(tenants.map((tenant) => tenant.shell(sshd, 'db-1')));
  await Promise.all(tenants.slice(1).map((tenant) => tenant.allows(ada, 'webshell-user')));
  await Promise.all(tenants.map((tenant) => tenant.isReady('db-1')));

  const stage = await InstalledStage.set(t);
  const terminals = [await first.opens('db-1', { user: ada, stage })];
  for (const tenant of tenants.slice(1)) terminals.push(await stage.visit(tenant.url('db-1')));
  const own = ({ namespace }) => Array.from({ length: 200 }, (_, n) => `${namespace} says ${n + 1}`);
  await Promise.all(
    terminals.map(async (terminal, n) => {
      await terminal.prompts();
      await terminal.enters(`clear; seq -f '${tenants[n].namespace} says %g' 200`);
      await terminal.shows(new RegExp(`^${tenants[n].namespace} says 200$`));
      await terminal.prompts();
    }),
  );
  for (const [n, terminal] of terminals.entries()) {
    assert.deepEqual((await terminal.lines()).slice(0, -1), own(tenants[n]), 'its own bytes, and no others');
  }

  const bensStage = await InstalledStage.set(t, { expected: /40[34]/ });
  const bens = await second.opens('db-1', { user: ben, stage: bensStage });
  await bens.prompts();
  const refused = (await bensStage.visit(first.url('db-1'))).page;
  await refused.getByText('You may open no such shell').waitFor();
  const links = (await bensStage.visit(`${PORTAL}/`)).page.getByRole('link', { name: 'db-1' });
  await links.first().waitFor();
  const listed = await links.evaluateAll((found) => found.map(({ href }) => href));
  assert.deepEqual(listed, [second.url('db-1')], 'only what may be opened is listed');

  await cookiesAreOfNoUseElsewhere(stage, first, second);
  await ticketsAreOfNoUseElsewhere(stage, first, second);
});

const origin = (tenant) => new URL(tenant.url('x')).origin;

async function cookiesAreOfNoUseElsewhere({ context }, first, second) {
  const connects = (Cookie, page = second) => handshake(`${second.url('db-1')}ws`, { Origin: origin(page), Cookie });
  const [its, others] = [await cookiesOf(context, origin(second)), await cookiesOf(context, origin(first))];
  assert.equal(await connects(its), 101);
  assert.equal(await connects(others), 401);
  assert.equal(await connects(others.replaceAll(first.namespace, second.namespace)), 401, 'nor by its own name');
  assert.equal(await connects(its, first), 403, "another namespace's page may not use them");
}

async function ticketsAreOfNoUseElsewhere({ context }, first, second) {
  const sent = await send(`${origin(first)}/${first.namespace}/-/login?shell=db-1`);
  assert.equal(sent.status, 303);
  const nonce = sent.headers['set-cookie'][0].split(';')[0];
  const page = await send(sent.headers.location, { headers: { Cookie: await cookiesOf(context, PORTAL) } });
  const [, ticket] = page.body.match(/name="ticket" value="([^"]+)"/);
  const logsIn = async (tenant, Cookie) => {
    const headers = { Origin: PORTAL, Cookie, 'Content-Type': 'application/x-www-form-urlencoded' };
    const body = new URLSearchParams({ ticket, shell: 'db-1' }).toString();
    const answer = await send(`${origin(tenant)}/${tenant.namespace}/-/session`, { method: 'POST', headers, body });
    return [answer.status, answer.headers.location].filter(Boolean).join(' ');
  };
  const again = `303 /${second.namespace}/-/login?shell=db-1`;
  assert.equal(await logsIn(second, nonce.replaceAll(first.namespace, second.namespace)), again, 'it is no nonce of its own');
  assert.equal(await logsIn(first, ''), '401', 'nor in another browser');
  assert.equal(await logsIn(first, nonce), `303 /${first.namespace}/db-1/`);
}

test('a controller that is replaced ends no session and changes nothing', async (t) => {
  const { tenant, terminal } = await session(t);
  const shell = await shellOf(terminal);
  await eventually('the session is told of in the status', async () => {
    const { status } = await tenant.get('webshell', 'db-1');
    return status.activeSessions === 1;
  });
  const before = await versions(tenant);
  assert.equal(await restartController(), 0, 'the new one writes nothing');
  assert.deepEqual(await versions(tenant), before);
  await goesOn(terminal, shell, 'after the restart');
});

test('an upgrade that leaves the image of the gateways ends no session', async (t) => {
  const { tenant, stage, terminal } = await session(t, { expected: /401/ });
  const shell = await shellOf(terminal);
  const role = async () => (await get('clusterrole', 'webshell-gateway')).metadata.uid;
  const own = async () => {
    const { items } = await get('pods', '--namespace', SYSTEM, '--field-selector=status.phase=Running');
    return items.filter(({ metadata }) => !metadata.deletionTimestamp).map(({ metadata }) => metadata.name);
  };
  const [owner, gateways, pods] = [await role(), await tenant.pods(), await own()];
  const { page: list } = await stage.visit(`${PORTAL}/`);
  await list.getByRole('link', { name: 'db-1' }).waitFor();
  await upgrade({ ...VALUES, 'log.level': 'debug', 'portal.resources.limits.memory': '200Mi' });
  await eventually('controller and portal are replaced', async () => {
    const now = await own();
    return now.length === pods.length && !now.some((name) => pods.includes(name));
  });
  await goesOn(terminal, shell, 'after the upgrade');
  assert.deepEqual(await tenant.pods(), gateways);
  assert.equal(await role(), owner);
  const { page } = await stage.visit(`${PORTAL}/`);
  await page.getByLabel('Token').waitFor();
  await list.getByLabel('Token').waitFor();
});

test('an upgrade to another image of the gateways drains them', async (t) => {
  const { tenant, stage, terminal: staying } = await session(t);
  const [leaving, reloading] = [await stage.visit(tenant.url('db-1')), await stage.visit(tenant.url('db-1'))];
  const [[old]] = await tenant.pods();
  const shell = await shellOf(staying);
  await leaving.prompts();
  await reloading.prompts();
  await upgrade({ ...VALUES, 'gateway.image.tag': NEXT_TAG });

  const told = 'The gateway stops; this session ends in 30 s at the latest.';
  for (const { page } of [staying, leaving, reloading]) await page.getByText(told).waitFor();
  const newcomer = await tenant.opens('db-1', { stage });
  await newcomer.prompts();
  await goesOn(staying, shell, 'beside the new gateway');
  await leaving.enters('exit');
  await leaving.says(/exit|ended/i);
  await reloading.page.reload();
  await reloading.says('This session is gone');
  const [now] = (await tenant.pods()).filter(([uid]) => uid !== old);
  await staying.says('The gateway stopped.');
  await goesOn(newcomer, await shellOf(newcomer), 'on the new gateway');
  await staying.button('Start again').click();
  await staying.prompts();
  await eventually('the old gateway is gone', async () => (await tenant.pods()).length === 1);
  assert.deepEqual(await tenant.pods(), [now]);
});

test('what lets somebody in, and what is typed and shown, can be read nowhere', async (t) => {
  await upgrade({ ...VALUES, 'log.level': 'trace' });
  const [sshd, tenant] = [await sshdFor(t), await Tenant.create(t)];
  await tenant.shell(sshd, 'db-1');
  await tenant.isReady('db-1');
  const stage = await InstalledStage.set(t);
  const heard = new Overheard(stage.context);
  const terminal = await tenant.opens('db-1', { stage });
  await terminal.prompts();
  const typed = randomBytes(8).toString('hex');
  const shown = [...typed].reverse().join('');
  await terminal.enters(`rev <<<${typed}`);
  await terminal.shows(new RegExp(`^${shown}$`));
  await terminal.reload();

  const [ticket] = heard.ticket;
  const again = { Origin: PORTAL, 'Content-Type': 'application/x-www-form-urlencoded' };
  const session = `${origin(tenant)}/${tenant.namespace}/-/session`;
  assert.equal((await send(session, { method: 'POST', headers: again, body: `ticket=${ticket}` })).status, 401);
  const foreign = (await kubectl(['create', 'token', 'ada', '--namespace', tenant.namespace])).trim();
  const logIn = { method: 'POST', headers: { Origin: PORTAL }, body: JSON.stringify({ token: foreign }) };
  assert.equal((await send(`${PORTAL}/-/login`, logIn)).status, 401, 'a token for the API lets nobody in');

  const text = await readable(tenant.namespace, SYSTEM);
  for (const expected of ['"resumed":true', 'somebody logged in', 'a log-in was refused']) {
    assert.ok(text.includes(expected), `it was looked where this is told: ${expected}`);
  }
  const cookie = (await stage.context.cookies()).map(({ value }) => value);
  const secrets = { ...heard, cookie, foreign: [foreign], typed: [typed], shown: [shown] };
  for (const [what, found] of Object.entries(secrets)) {
    assert.ok([...found].length > 0, `there is one: ${what}`);
    for (const secret of found) {
      // Of what is signed, the signature is the secret.
      assert.ok(!text.includes(secret.split('.').at(-1)), `it can be read: ${what}`);
    }
  }
});
