// From nothing to a terminal, as those who install it, who apply a WebShell, and who open it see it.

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { apply, condition, createNamespace, eventually, get, kubectl } from './support/cluster.js';
import { install } from './support/installation.js';
import { sshdFor } from './support/place.js';
import { InstalledStage, User } from './support/user.js';

const PARENT = { 'route.parentRefs[0].name': 'traefik', 'route.parentRefs[0].namespace': 'traefik' };

/** The ways to install it, and where a shell is then. */
const WAYS = [
  {
    name: 'a host for all gateways, by Ingress',
    values: { 'route.mode': 'Path', 'route.kind': 'Ingress' },
    url: (namespace, name) => `https://gateways.shell.test/${namespace}/${name}/`,
  },
  {
    name: 'a host for each namespace, by HTTPRoute',
    values: { 'route.mode': 'Host', 'route.kind': 'HTTPRoute', ...PARENT },
    url: (namespace, name) => `https://${namespace}.shell.test/${namespace}/${name}/`,
  },
];

/** What of the product's stands in a namespace. */
const KINDS = 'configmaps,serviceaccounts,rolebindings,deployments,services,ingresses,httproutes,networkpolicies';
const ours = async (namespace) => {
  const args = [KINDS, '--namespace', namespace, '--selector=app.kubernetes.io/part-of=webshell'];
  return (await get(...args)).items.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
};

for (const { name, values, url } of WAYS) {
  suite(name, () => {
    test('Helm, kubectl and a browser lead to a terminal on the machine, and away from it', async (t) => {
      const namespace = await createNamespace(t);
      await install(t, values);
      const sshd = await sshdFor(t);
      await apply(sshd.manifests({ namespace, name: 'db-1', terminal: { command: sshd.bash } }));
      await condition(namespace, 'db-1', 'Ready', 'True');
      await condition(namespace, 'db-1', 'RouteReady', 'True', 'Routed');
      const address = url(namespace, 'db-1');
      const { status } = await get('webshell', 'db-1', '--namespace', namespace);
      assert.equal(status.url, address);

      const user = await User.create(namespace);
      const stage = await InstalledStage.set(t);
      const terminal = await stage.visit(address);
      await stage.logsIn(terminal.page, await user.token());
      await terminal.is('connected');
      assert.equal(terminal.page.url(), address);
      const cookies = async (url) => (await stage.context.cookies(url)).map((cookie) => cookie.name);
      assert.deepEqual(await cookies('https://shell.test'), ['__Host-webshell'], 'each has cookies of its own');
      const own = [`__Host-webshell.${namespace}`, `__Host-webshell.${namespace}.nonce`];
      assert.deepEqual((await cookies(address)).sort(), own);
      await terminal.prompts();
      await terminal.enters('echo six times seven is $((6 * 7)), said $$');
      const [, shell] = await terminal.shows(/six times seven is 42, said (\d+)/);

      const { cols: wider } = await terminal.size();
      await terminal.page.setViewportSize({ width: 700, height: 400 });
      await eventually('the terminal is narrower', async () => (await terminal.size()).cols < wider);
      const { rows, cols } = await terminal.size();
      await terminal.enters('stty size');
      await terminal.shows(`${rows} ${cols}`);
      await terminal.reload();
      await terminal.enters('echo this is still $$');
      await terminal.shows(`this is still ${shell}`);

      const before = await get('configmaps,deployments,services,ingresses,httproutes', '--namespace', namespace);
      await apply(sshd.manifests({ namespace, name: 'db-2', terminal: { command: sshd.bash } }));
      await condition(namespace, 'db-2', 'Ready', 'True');
      await terminal.enters('echo a second shell ends none');
      await terminal.shows('a second shell ends none');
      const after = await get('configmaps,deployments,services,ingresses,httproutes', '--namespace', namespace);
      const versions = ({ items }) => items.map(({ kind, metadata }) => [kind, metadata.name, metadata.generation]);
      assert.deepEqual(versions(after), versions(before), 'a second WebShell changes no object of the namespace');

      await kubectl(['delete', 'webshell', 'db-1', '--namespace', namespace]);
      await terminal.says('The WebShell was deleted.');
      // It would ask its gateway who is logged in, and that is about to go.
      await terminal.page.close();
      await kubectl(['delete', 'webshell', 'db-2', '--namespace', namespace]);
      await eventually(
        async () => `the namespace is clean; there are ${await ours(namespace)}`,
        async () => (await ours(namespace)).length === 0,
      );
    });
  });
}
