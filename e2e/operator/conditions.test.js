// What is wrong with a WebShell is told, by kubectl and by its page, with what to do; and once that is done it works, though
// nothing was restarted.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { apply, eventually, kubectl } from './support/cluster.js';
import { installForAll, upgrade } from './support/installation.js';
import { sshdFor, VM_ADDRESS } from './support/place.js';
import { Tenant } from './support/tenant.js';

/** A Gateway for our routes that takes none of a namespace with this label. */
const [CLOSED, GATEWAY] = ['webshell-e2e-closed', 'webshell-e2e'];
const LISTENER = {
  name: 'websecure',
  protocol: 'HTTPS',
  port: 443,
  tls: { certificateRefs: [{ name: 'shell-test' }] },
  allowedRoutes: {
    namespaces: { from: 'Selector', selector: { matchExpressions: [{ key: CLOSED, operator: 'DoesNotExist' }] } },
  },
};

const VALUES = {
  'route.mode': 'Host',
  'route.kind': 'HTTPRoute',
  'route.parentRefs[0].name': GATEWAY,
  'route.parentRefs[0].namespace': 'traefik',
  'policy.deniedCidrs': '{203.0.113.0/24}',
  'policy.forbidInsecure': true,
};

before(() =>
  apply([
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { name: GATEWAY, namespace: 'traefik' },
      spec: { gatewayClassName: 'traefik', listeners: [LISTENER] },
    },
  ]),
);
after(() => kubectl(['delete', 'gateway', GATEWAY, '--namespace', 'traefik']));
installForAll(VALUES);

/** A new private key, encrypted if there is a passphrase, and its public half. */
function keygen(t, passphrase = '') {
  const directory = mkdtempSync(join(tmpdir(), 'webshell-key-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'key');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', passphrase, '-f', file]);
  return [file, `${file}.pub`].map((name) => readFileSync(name, 'utf8'));
}

test('what is wrong with a Secret or Service is told, and applying the right one is all it takes', async (t) => {
  const [sshd, tenant] = [await sshdFor(t), await Tenant.create(t)];
  const [encrypted, publicKey] = keygen(t, 'right');
  const service = (name, port) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { ports: [{ name: port, port: 22 }] },
  });
  const target = { host: VM_ADDRESS, port: sshd.port };
  const cases = [
    { name: 'no-secret', secret: null, reason: 'NotFound', says: /no-secret.*there is no such Secret.*create it/ },
    { name: 'no-user', target, secret: { password: 'x' }, says: /spec\.target\.user is missing.*no key username/ },
    { name: 'odd-user', target, secret: { username: '-oProxyCommand=x' }, says: /key username of Secret odd-user/ },
    { name: 'no-key', secret: { 'ssh-privatekey': 'nonsense' }, says: /ssh-privatekey.*it is no private key.*Put in/ },
    { name: 'public-key', secret: { 'ssh-privatekey': publicKey }, says: /it is a public key.*private key/ },
    { name: 'no-passphrase', secret: { 'ssh-privatekey': encrypted }, says: /passphrase/ },
    {
      name: 'bad-passphrase',
      secret: { 'ssh-privatekey': encrypted, passphrase: 'x' },
      says: /"passphrase".*does not decrypt.*Check it/,
    },
    {
      name: 'no-known-hosts',
      hostKey: { secretRef: { name: 'no-known-hosts' } },
      says: /key known_hosts of Secret no-known-hosts is missing.*put the machine's host key there/,
    },
    {
      name: 'no-service',
      target: { user: 'ops', serviceRef: { name: 'none' } },
      reason: 'NotFound',
      says: /there is no such Service.*create it/,
    },
    {
      name: 'no-port',
      target: { user: 'ops', serviceRef: { name: 'vm' } },
      says: /Service vm has no port named "ssh", but the ports shh; name one of its ports/,
    },
  ];
  await tenant.applies(service('vm', 'shh'));
  for (const { name, reason, says, ...spec } of cases) await tenant.shell(sshd, name, spec);
  for (const { name, reason = 'Unusable', says } of cases) {
    assert.match(await tenant.lacks(name, 'CredentialsResolved', 'False', reason), says, name);
  }
  const pods = await tenant.pods();
  const terminal = await tenant.opens('no-secret');
  await terminal.says('there is no such Secret', 'Start again');

  for (const name of ['vm', 'none']) await tenant.applies(service(name, 'ssh'));
  for (const { name } of cases) {
    const [{ spec }, { stringData }] = sshd.manifests();
    await tenant.secret(name, { ...stringData, username: spec.target.user, known_hosts: sshd.knownHosts() });
  }
  await tenant.secret('bad-passphrase', { 'ssh-privatekey': encrypted, passphrase: 'right' });
  for (const { name } of cases) {
    await tenant.has(name, 'CredentialsResolved', 'True', 'Resolved');
    await tenant.isReady(name);
  }
  await tenant.startsAgain(terminal);
  assert.deepEqual(await tenant.pods(), pods, 'no gateway was restarted for that');
});

test('a machine that is not there, or not the one it should be, is told by the page', async (t) => {
  const [sshd, tenant] = [await sshdFor(t), await Tenant.create(t)];
  const target = (host, port = sshd.port) => ({ target: { host, port } });
  await tenant.shell(sshd, 'db-1');
  await tenant.changes('db-1', target('nowhere.example'));
  await tenant.isReady('db-1');
  const terminal = await tenant.opens('db-1');
  await terminal.says('"nowhere.example" could not be resolved', "Check the host's name", 'Start again');
  await tenant.changes('db-1', target(VM_ADDRESS));
  await tenant.startsAgain(terminal);

  await tenant.changes('db-1', { hostKey: { knownHosts: sshd.knownHosts('other_key') } });
  await terminal.says(/host key/i);
  await tenant.startsInVain(
    terminal,
    'is not the one known',
    sshd.fingerprint('host_key'),
    sshd.fingerprint('other_key'),
  );
  await tenant.changes('db-1', { hostKey: { knownHosts: sshd.knownHosts() } });
  await tenant.startsAgain(terminal);

  await tenant.changes('db-1', { hostKey: { knownHosts: `elsewhere ${sshd.knownHosts().split(/ (.*)/s)[1]}` } });
  await terminal.says(/host key/i);
  await tenant.startsInVain(terminal, 'not known', sshd.fingerprint(), 'this line for known_hosts trusts it');
  const knownHosts = await terminal.panel.locator('code').innerText();
  await tenant.changes('db-1', { hostKey: { knownHosts } });
  await tenant.startsAgain(terminal);
});

for (const { name, limit, reason, says } of [
  {
    name: 'a quota',
    limit: { kind: 'ResourceQuota', spec: { hard: { pods: '0' } } },
    reason: 'QuotaExceeded',
    says: /exceeded quota: limit/,
  },
  {
    name: 'an admission control',
    limit: { kind: 'LimitRange', spec: { limits: [{ type: 'Container', min: { memory: '1Gi' } }] } },
    reason: 'AdmissionDenied',
    says: /minimum memory usage per Container is 1Gi/,
  },
]) {
  test(`${name} that allows no gateway is told, and the gateway comes once it does`, async (t) => {
    const [sshd, tenant] = [await sshdFor(t), await Tenant.create(t)];
    await tenant.applies({ apiVersion: 'v1', metadata: { name: 'limit' }, ...limit });
    await tenant.shell(sshd, 'db-1');
    assert.match(await tenant.lacks('db-1', 'GatewayReady', 'False', reason), says);
    await tenant.delete(limit.kind, 'limit');
    await tenant.has('db-1', 'GatewayReady', 'True', 'Available');
    await tenant.isReady('db-1');
  });
}

test('a gateway that cannot start is told, and gateways that run go on', async (t) => {
  const [sshd, running, tenant] = [await sshdFor(t), await Tenant.create(t), await Tenant.create(t)];
  await running.shell(sshd, 'db-1');
  await running.isReady('db-1');
  const terminal = await running.opens('db-1');
  await terminal.prompts();
  t.after(() => upgrade(VALUES));

  await upgrade({ ...VALUES, 'gateway.image.tag': 'missing' });
  await tenant.shell(sshd, 'db-1');
  const words = await tenant.lacks('db-1', 'GatewayReady', 'False', 'ImagePullFailed');
  assert.match(words, /webshell:missing/);
  await upgrade({ ...VALUES, 'gateway.nodeSelector.webshell-e2e': 'nowhere' });
  assert.match(
    await tenant.lacks('db-1', 'GatewayReady', 'False', 'Unschedulable'),
    /no node takes the pod: 0\/\d+ nodes/,
  );
  await eventually('the other, which runs, says so of its successor', async () =>
    /successor cannot start: no node takes/.test(await running.has('db-1', 'GatewayReady', 'True', 'Available')),
  );
  await upgrade(VALUES);
  await tenant.isReady('db-1');
  await running.isReady('db-1');
  await terminal.enters('echo it went on, six times seven is $((6 * 7))');
  await terminal.shows(/^it went on, six times seven is 42$/);
});

test('a route that is not accepted is told, and is taken up once it is', async (t) => {
  const [sshd, tenant] = [await sshdFor(t), await Tenant.create(t, { labels: { [CLOSED]: '' } })];
  await tenant.shell(sshd, 'db-1');
  const words = await tenant.lacks('db-1', 'RouteReady', 'False', 'NotAccepted');
  assert.match(words, new RegExp(`^Gateway ${GATEWAY}: Accepted is False, NotAllowedByListeners`));
  await tenant.unlabel(CLOSED);
  await tenant.has('db-1', 'RouteReady', 'True', 'Routed');
  await tenant.isReady('db-1');
  await (await tenant.opens('db-1')).prompts();
});

test('what the policy forbids is told, and another target or policy is all it takes', async (t) => {
  const [sshd, tenant] = [await sshdFor(t), await Tenant.create(t)];
  const [{ spec }] = sshd.manifests();
  await tenant.shell(sshd, 'network', { target: { ...spec.target, host: '203.0.113.7' } });
  await tenant.shell(sshd, 'insecure', { hostKey: { policy: 'Insecure' } });
  await tenant.shell(sshd, 'port');
  const forbidden = (name) => tenant.lacks(name, 'Accepted', 'False', 'ForbiddenByPolicy');
  assert.match(await forbidden('network'), /spec\.target is 203\.0\.113\.7 port \d+, which this installation forbids/);
  assert.match(await forbidden('insecure'), /spec\.hostKey\.policy is "Insecure"/);
  await tenant.isReady('port');
  const terminal = await tenant.opens('network');
  await terminal.says('must not be reached', '203.0.113.7', 'ask whoever runs the cluster', 'Start again');
  // Where a name leads is found out by the gateway: to the API server this time.
  await tenant.changes('network', { target: { host: 'kubernetes.default.svc', port: 443 } });
  await tenant.isReady('network');
  await tenant.startsInVain(terminal, 'must not be reached', 'API server');
  await tenant.changes('network', { target: { host: VM_ADDRESS, port: sshd.port } });
  await tenant.changes('insecure', { hostKey: { policy: 'Strict', knownHosts: sshd.knownHosts() } });
  for (const name of ['network', 'insecure']) await tenant.isReady(name);
  await tenant.startsAgain(terminal);

  t.after(() => upgrade(VALUES));
  await upgrade({ ...VALUES, 'policy.allowedPorts': '{22}' });
  assert.match(await forbidden('port'), new RegExp(`port ${sshd.port}.*allowedPorts`));
  await upgrade({ ...VALUES, 'policy.allowedPorts': `{22,${sshd.port}}` });
  await tenant.isReady('port');
  await tenant.startsAgain(terminal);
});
