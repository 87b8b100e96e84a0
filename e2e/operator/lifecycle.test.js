// The life of an installation: made where there is a definition already, proved by `helm test`, beside namespaces that end,
// removed and made again.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { eventually, get, kinds, kubectl } from './support/cluster.js';
import { complaints } from './support/controller.js';
import { helm, installForAll, make, SYSTEM, uninstall, upgrade } from './support/installation.js';
import { sshdFor } from './support/place.js';
import { send } from './support/raw.js';
import { Tenant } from './support/tenant.js';
import { InstalledStage } from './support/user.js';

const CRDS = fileURLToPath(new URL('../../crds', import.meta.url));
const CRD = 'webshells.webshell.dev';

const VALUES = {
  'route.mode': 'Host',
  'route.kind': 'Ingress',
  'gateway.drainTimeout': '2s',
};

/** Says which release has made the definition, as Helm does; none without one. */
async function definitionIsOf(release) {
  const as = (name, value) => (release ? `${name}=${value}` : `${name}-`);
  const owner = [as('meta.helm.sh/release-name', release), as('meta.helm.sh/release-namespace', SYSTEM)];
  await kubectl(['annotate', '--overwrite', 'crd', CRD, ...owner]);
  await kubectl(['label', '--overwrite', 'crd', CRD, as('app.kubernetes.io/managed-by', 'Helm')]);
}

installForAll({ ...VALUES, 'crds.install': false }, async () => {
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', CRDS]);
  await definitionIsOf(undefined);
});
// Whatever became of the tests here, others find it as they expect it.
after(() => definitionIsOf('webshell'));

test('helm test passes, and fails where a route is missing', async () => {
  const proves = (...flags) => helm(['test', 'webshell', '--namespace', SYSTEM, ...flags]);
  await proves();
  await kubectl(['delete', 'ingress', 'webshell-portal', '--namespace', SYSTEM]);
  await eventually('the route is gone', async () => (await send('https://shell.test/')).status === 404);
  await assert.rejects(proves('--timeout=15s'));
  assert.match(await kubectl(['logs', 'webshell-test', '--namespace', SYSTEM]), /no answer yet.*shell\.test.*404/);
  await upgrade({ ...VALUES, 'crds.install': false });
  await proves();
});

test('a namespace that is ending harms no other, and may come again', async (t) => {
  const [sshd, tenant, other] = [await sshdFor(t), await Tenant.create(t), await Tenant.create(t)];
  const { namespace } = tenant;
  const holds = (...finalizers) =>
    kubectl([
      'patch',
      'webshell',
      'db-1',
      '--type=merge',
      '-p',
      JSON.stringify({ metadata: { finalizers } }),
      '-n',
      namespace,
    ]);
  t.after(() => t.passed || holds());
  await tenant.shell(sshd, 'db-1');
  await tenant.isReady('db-1');
  await holds('e2e.webshell.dev/held');
  await kubectl(['delete', 'namespace', namespace, '--wait=false']);
  await eventually('all else in it is gone', async () => String(await contents(namespace)) === 'WebShell/db-1');
  await tenant.changes('db-1', { session: { maxSessions: 3 } });
  await other.shell(sshd, 'db-1');
  await other.isReady('db-1');
  assert.equal((await get('namespace', namespace)).status.phase, 'Terminating');
  assert.deepEqual(await complaints(namespace), [], 'nothing that would not be so is tried');

  await holds();
  await kubectl(['wait', '--for=delete', `namespace/${namespace}`, '--timeout=60s']);
  await kubectl(['create', 'namespace', namespace]);
  await tenant.shell(sshd, 'db-1');
  await tenant.isReady('db-1');
  await (await tenant.opens('db-1')).prompts();
});

/** Everything in a namespace but events, as kind/name. */
async function contents(namespace) {
  const columns = '-o=custom-columns=KIND:.kind,NAME:.metadata.name';
  const all = (await kinds('--namespaced')).filter((kind) => !/^events\b/.test(kind)).join(',');
  const lines = (await kubectl(['get', all, '--namespace', namespace, '--no-headers', columns])).trim().split('\n');
  return lines.map((line) => line.trim().replace(/\s+/, '/')).sort();
}

/** Everything that belongs to no namespace and bears the product's label. */
async function labelled() {
  const all = String(await kinds('--namespaced=false'));
  const ours = ['--ignore-not-found', '--selector=app.kubernetes.io/part-of=webshell'];
  return (await kubectl(['get', all, ...ours, '-o', 'name'])).trim().split('\n');
}

const OF_EVERY_NAMESPACE = ['ConfigMap/kube-root-ca.crt', 'ServiceAccount/default'];
const OF_USERS = ['RoleBinding/ada', 'Secret/db-1', 'ServiceAccount/ada', 'WebShell/db-1'];

/** Waits until nothing is left but the definition, and what is the users' own. */
async function isGone(tenant) {
  await eventually(
    async () => `the gateway's objects are gone; there are ${await contents(tenant.namespace)}`,
    async () => String(await contents(tenant.namespace)) === String([...OF_EVERY_NAMESPACE, ...OF_USERS].sort()),
  );
  assert.deepEqual(await contents(SYSTEM), ['ConfigMap/authority', ...OF_EVERY_NAMESPACE]);
  const rest = (await labelled()).filter((name) => !name.startsWith('customresourcedefinition'));
  assert.deepEqual(rest.filter(Boolean), [], 'nothing is left beside namespaces');
}

/** Shows that the shell opens by a new gateway, in a browser that knows nothing yet. */
async function opensAnew(t, tenant) {
  const terminal = await tenant.opens('db-1', { stage: await InstalledStage.set(t), user: tenant.ada });
  await terminal.prompts();
  await eventually('the status tells of this gateway, and of no earlier one', async () => {
    const { status } = await tenant.get('webshell', 'db-1');
    return status.gateways?.length === 1 && status.activeSessions === 1;
  });
  return terminal;
}

test('what is uninstalled leaves no trace, and takes up what the users have when it is installed again', async (t) => {
  const [sshd, tenant] = [await sshdFor(t), await Tenant.create(t)];
  await tenant.shell(sshd, 'db-1');
  await tenant.isReady('db-1');
  let terminal = await tenant.opens('db-1');
  await terminal.prompts();
  let installed;
  t.after(() => uninstall('other'));
  for (const { how, release, flags } of [
    { how: 'the same release, the definition being nobody’s', flags: ['--take-ownership'] },
    { how: 'the same release, the definition being its own' },
    { how: 'another release', release: 'other', flags: ['--take-ownership'] },
  ]) {
    await uninstall(installed);
    await terminal.says('The gateway stopped.');
    // It would ask its gateway who is logged in, and there is none.
    await terminal.page.close();
    await isGone(tenant);
    if (flags) await assert.rejects(make(VALUES, { release }), /cannot be imported into the current release/, how);
    await make(VALUES, { release, flags });
    installed = release;
    terminal = await opensAnew(t, tenant);
  }
});
