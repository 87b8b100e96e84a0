// Who gets in, and who does not: users with and without rights, requests that claim what is not so, and neighbours.

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { describe, kubectl } from './support/cluster.js';
import { installForAll, SYSTEM } from './support/installation.js';
import { sshdFor } from './support/place.js';
import { cookiesOf, handshake, send } from './support/raw.js';
import { Tenant } from './support/tenant.js';
import { InstalledStage, User } from './support/user.js';

installForAll({
  'route.mode': 'Host',
  'route.kind': 'Ingress',
});

const PORTAL = 'https://shell.test';
const originOf = (tenant) => new URL(tenant.url('x')).origin;
const socketOf = (tenant, name) => new URL('ws', tenant.url(name)).href;

/** A namespace with a shell that is ready, and with the strictest Pod Security. */
async function tenantWithShell(t, options) {
  const sshd = await sshdFor(t, options);
  const tenant = await Tenant.create(t, { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } });
  await tenant.shell(sshd, 'db-1');
  await tenant.isReady('db-1');
  return { sshd, tenant };
}

/** Logs in; the stage, and the cookies that the gateway knows its user by. */
async function loggedIn(t, tenant, options) {
  const stage = await InstalledStage.set(t, options);
  const terminal = await tenant.opens('db-1', { stage });
  await terminal.prompts();
  const cookies = await cookiesOf(stage.context, tenant.url('db-1'));
  return { stage, terminal, cookies };
}

suite('rights', () => {
  test('to write a WebShell is not to open it; a RoleBinding is all it takes', async (t) => {
    const sshd = await sshdFor(t);
    const tenant = await Tenant.create(t);
    const eve = await User.create(tenant.namespace, { name: 'eve', mayConnect: false });
    await tenant.allows(eve, 'edit');
    const [shell, secret] = sshd.manifests({ name: 'db-1', terminal: { command: sshd.bash } });
    await tenant.applies(secret);
    await tenant.appliesAs(eve, shell);
    await tenant.isReady('db-1');

    // A page that only tells something has no icon.
    const stage = await InstalledStage.set(t, { expected: /403|status of 404/ });
    const terminal = await tenant.opens('db-1', { user: eve, stage });
    await terminal.page.getByRole('heading', { name: 'This shell does not open' }).waitFor();
    await terminal.page.getByText('You may open no such shell').waitFor();
    await eve.mayConnect();
    await terminal.page.goto(tenant.url('db-1'));
    await terminal.prompts();
  });

  test('a right to one shell opens no other', async (t) => {
    const { sshd, tenant } = await tenantWithShell(t);
    await tenant.shell(sshd, 'db-2');
    await tenant.isReady('db-2');
    const bob = await User.create(tenant.namespace, { name: 'bob', mayConnect: false });
    await kubectl([
      ...[
        'create',
        'role',
        'db-1',
        '--verb=create',
        '--resource=webshells.webshell.dev/connect',
        '--resource-name=db-1',
      ],
      ...['--namespace', tenant.namespace],
    ]);
    await tenant.allows(bob, 'db-1', 'role');
    const stage = await InstalledStage.set(t, { expected: /403/ });
    const terminal = await tenant.opens('db-1', { user: bob, stage });
    await terminal.prompts();
    const other = await stage.visit(tenant.url('db-2'));
    await other.says('There is no shell', 'that you may open', 'not shared with you');
    const headers = { Cookie: await cookiesOf(stage.context, tenant.url('db-2')), Origin: originOf(tenant) };
    assert.equal(await handshake(socketOf(tenant, 'db-2'), headers), 403);
    assert.equal(await handshake(socketOf(tenant, 'no-such-shell'), headers), 403, 'nor is told which there are');
    assert.equal(await handshake(socketOf(tenant, 'db-1'), headers), 101);
  });

  test('a right that is taken away ends the session, and its user is refused from then on', async (t) => {
    const { tenant } = await tenantWithShell(t);
    const { terminal, cookies } = await loggedIn(t, tenant, { expected: /403/ });
    await tenant.ada.mayConnectNoMore();
    await terminal.says('You may not open this shell any more.');
    await tenant.startsInVain(terminal, 'There is no shell', 'that you may open');
    assert.equal(await handshake(socketOf(tenant, 'db-1'), { Cookie: cookies, Origin: originOf(tenant) }), 403);
    await tenant.ada.mayConnect();
    await tenant.startsAgain(terminal);
  });

  test('a Secret that changes or goes ends the session', async (t) => {
    const { sshd, tenant } = await tenantWithShell(t);
    const { terminal } = await loggedIn(t, tenant);
    await tenant.secret('db-1', { password: 'another' });
    await terminal.says("The WebShell's credentials changed.", 'Start again');
    await tenant.startsAgain(terminal);
    await tenant.delete('secret', 'db-1');
    await terminal.says('there is no such Secret', 'Start again');
    await tenant.shell(sshd, 'db-1');
    await tenant.startsAgain(terminal);
  });

  test('a tenant who may make routes gets none for an address of the product', async (t) => {
    const [tenant, neighbour] = [await Tenant.create(t), await Tenant.create(t)];
    const eve = await User.create(tenant.namespace, { name: 'eve', mayConnect: false });
    await tenant.allows(eve, 'edit');
    const ingress = (host) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name: 'claim' },
      spec: { rules: [{ host, http: { paths: [{ path: '/', pathType: 'Prefix', backend }] } }] },
    });
    const backend = { service: { name: 'mine', port: { number: 80 } } };
    for (const claimed of [tenant, neighbour]) {
      const claim = ingress(new URL(claimed.url('x')).hostname);
      await assert.rejects(tenant.appliesAs(eve, claim), /would take requests for WebShell/);
    }
    await tenant.appliesAs(eve, ingress('free.test'));
  });
});

suite('requests', () => {
  test('a gateway believes no header, and no token', async (t) => {
    const { tenant } = await tenantWithShell(t);
    const { cookies } = await loggedIn(t, tenant);
    const [pod] = (await tenant.get('pods', '--selector=app.kubernetes.io/name=webshell-gateway')).items;
    const at = (path) => `http://${pod.status.podIP}:8080/${tenant.namespace}/${path}`;
    const { host, origin } = new URL(tenant.url('db-1'));
    const apiToken = await kubectl(['create', 'token', 'ada', '--namespace', tenant.namespace]);
    const name = cookies.split('=')[0];
    for (const claim of [
      {},
      { 'X-Remote-User': 'ada', 'X-Remote-Group': 'system:masters' },
      { 'X-Forwarded-User': 'ada', 'X-Auth-Request-User': 'ada', 'X-Forwarded-Email': 'ada@example.com' },
      { 'Impersonate-User': 'ada', 'Impersonate-Group': 'system:masters' },
      { Authorization: `Bearer ${apiToken.trim()}` },
      { Authorization: `Bearer ${await tenant.ada.token()}` },
      { Authorization: `Basic ${Buffer.from('ada:ada').toString('base64')}` },
      { Cookie: `${name}=${'0'.repeat(43)}` },
    ]) {
      const headers = { Host: host, Origin: origin, ...claim };
      const words = JSON.stringify(claim);
      assert.equal(await handshake(at('db-1/ws'), headers), 401, words);
      assert.equal((await send(at('-/session'), { headers })).status, 401, words);
      assert.equal((await send(at('-/shells'), { headers })).status, 401, words);
      const page = await send(at('db-1/'), { headers });
      assert.equal(page.status, 303, words);
      assert.equal(page.headers.location, `/${tenant.namespace}/-/login?shell=db-1`, words);
    }
    const headers = { Host: host, Origin: origin, Cookie: cookies };
    assert.equal(await handshake(at('db-1/ws'), headers), 101, 'who is logged in gets in that way too');
  });

  test("a terminal is opened by the gateway's own pages only", async (t) => {
    const { tenant } = await tenantWithShell(t);
    const { cookies } = await loggedIn(t, tenant);
    const own = originOf(tenant);
    for (const origin of [
      undefined,
      'null',
      '',
      PORTAL,
      'https://evil.example',
      'https://other.shell.test',
      `${own}:8443`,
      `${own}.evil.example`,
      own.replace('https:', 'http:'),
      `${own}/`,
    ]) {
      const status = await handshake(socketOf(tenant, 'db-1'), { Cookie: cookies, Origin: origin });
      assert.equal(status, 403, `Origin ${origin}`);
    }
    assert.equal(await handshake(socketOf(tenant, 'db-1'), { Cookie: cookies, Origin: own }), 101);
  });

  test('a ticket is used once, by the browser that it was made out to, at one gateway', async (t) => {
    const { sshd, tenant } = await tenantWithShell(t);
    const neighbour = await Tenant.create(t);
    await neighbour.shell(sshd, 'db-1');
    await neighbour.isReady('db-1');
    const stage = await InstalledStage.set(t);
    const requests = [];
    stage.context.on('request', (request) => requests.push(request));
    await (await tenant.opens('db-1', { stage })).prompts();
    const login = requests.find((request) => request.method() === 'POST' && /-\/session$/.test(request.url()));
    const form = login.postData();
    const [, ticket] = form.match(/^ticket=([\w.-]+)&shell=db-1$/);
    for (const request of requests) {
      const { referer = '' } = await request.allHeaders();
      assert.ok(!`${request.url()} ${referer}`.includes(ticket), 'no address holds it');
    }

    const post = (where, Cookie) => {
      const headers = { Origin: PORTAL, 'Content-Type': 'application/x-www-form-urlencoded', Cookie };
      return send(`${originOf(where)}/${where.namespace}/-/session`, { method: 'POST', headers, body: form });
    };
    // A browser on its way to log in, at each gateway.
    const departed = async (where) => {
      const { headers } = await send(`${originOf(where)}/${where.namespace}/-/login?shell=db-1`);
      return headers['set-cookie'][0].split(';')[0];
    };
    for (const [what, where, cookies, words] of [
      ['again', tenant, await cookiesOf(stage.context, tenant.url('db-1')), /used before/],
      ['by another browser', tenant, await departed(tenant), /cannot be used/],
      ['at another gateway', neighbour, await departed(neighbour), /cannot be used/],
    ]) {
      const { status, headers, body } = await post(where, cookies);
      assert.equal(status, 401, what);
      assert.equal(headers['set-cookie'], undefined, what);
      assert.match(body, words, what);
    }
  });

  test('a page of one namespace opens no shell of another, though its user may', async (t) => {
    const { sshd, tenant } = await tenantWithShell(t);
    const neighbour = await Tenant.create(t);
    await neighbour.shell(sshd, 'db-1');
    await neighbour.isReady('db-1');
    const { stage } = await loggedIn(t, tenant, { expected: /WebSocket connection|blocked by CORS|ERR_FAILED|403/ });
    // What whoever runs the neighbour's gateway may serve there.
    const served = (origin) => stage.context.route(`${origin}/page`, (route) => route.fulfill({ body: 'a page' }));
    for (const where of [tenant, neighbour]) await served(originOf(where));
    const tries = (page) =>
      page.evaluate(
        async ([socket, list]) => ({
          socket: await new Promise((resolve) => {
            const opened = new WebSocket(socket, 'webshell.v1');
            opened.onopen = () => resolve('open');
            opened.onerror = () => resolve('refused');
          }),
          list: await fetch(list, { credentials: 'include' }).then(
            ({ status }) => status,
            () => 'refused',
          ),
        }),
        [socketOf(tenant, 'db-1'), `${originOf(tenant)}/${tenant.namespace}/-/shells`],
      );
    const page = await stage.newPage();
    await page.goto(`${originOf(tenant)}/page`);
    assert.deepEqual(await tries(page), { socket: 'open', list: 200 });
    await page.goto(`${originOf(neighbour)}/page`);
    assert.deepEqual(await tries(page), { socket: 'refused', list: 'refused' });
  });
});

test('no secret shows in a log, an event, a status or any object but its Secret', async (t) => {
  const { sshd, tenant } = await tenantWithShell(t, { config: ['PasswordAuthentication yes'] });
  const [password, passphrase] = ['canary-password-5f1c', 'canary-passphrase-5f1c'];
  const [, { stringData }] = sshd.manifests();
  // One that works, one that the machine refuses, and one that cannot be used.
  await tenant.shell(sshd, 'refused', { secret: { password } });
  await tenant.shell(sshd, 'unusable', { secret: { 'ssh-privatekey': `canary ${password}`, passphrase } });
  await tenant.has('unusable', 'CredentialsResolved', 'False', 'Unusable');
  const { stage, terminal } = await loggedIn(t, tenant);
  const refused = await stage.visit(tenant.url('refused'));
  await refused.says('password', 'Start again');
  await terminal.enters('echo canary-$((5 * 7))-typed');
  await terminal.shows('canary-35-typed');
  const token = await tenant.ada.token();

  const texts = await Promise.all([describe(tenant.namespace), describe(SYSTEM), tenant.yaml()]);
  const said = [...texts, await refused.panel.innerText()].join('\n');
  for (const known of ['db-1', 'refused', 'unusable', '"event":"connected"', 'somebody logged in']) {
    assert.ok(said.includes(known), `it was looked where ${known} shows`);
  }
  const key = stringData['ssh-privatekey'].split('\n')[2];
  const cookies = (await stage.context.cookies()).map(({ value }) => value);
  for (const [what, secret] of Object.entries({ password, passphrase, key, typed: 'canary-35', token, ...cookies })) {
    assert.ok(!said.includes(secret), `it shows: ${what}`);
  }
});
