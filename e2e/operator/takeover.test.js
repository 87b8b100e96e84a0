// Whether a tenant can take requests of others: routes that would, through the real ingress controller, with our policies and without.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { suite, test } from 'node:test';
import { eventually, kubectl } from './support/cluster.js';
import { installForAll } from './support/installation.js';
import { sshdFor, VM_ADDRESS } from './support/place.js';
import { send } from './support/raw.js';
import { Tenant } from './support/tenant.js';
import { User } from './support/user.js';

/** A user id such as a cluster assigns that gives each namespace a range of its own. */
const USER_ID = 1000650000;

installForAll({ 'route.mode': 'Host', 'route.kind': 'Ingress', 'podSecurity.runAsUser': USER_ID });

const HOST = 'shell.test';
const LONG = `/${'a'.repeat(80)}`;

function ingress({ host, path = '/', pathType = 'Prefix', annotations = {} }) {
  const backend = { service: { name: 'evil', port: { number: 80 } } };
  const rule = { ...(host && { host }), http: { paths: [{ path, pathType, backend }] } };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: { name: 'evil', annotations },
    spec: { rules: [rule] },
  };
}

function httpRoute(hostnames) {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'HTTPRoute',
    metadata: { name: 'evil' },
    spec: {
      parentRefs: [{ name: 'traefik', namespace: 'traefik', sectionName: 'websecure' }],
      ...(hostnames && { hostnames }),
      rules: [{ matches: [{ path: { type: 'PathPrefix', value: LONG } }], backendRefs: [{ name: 'evil', port: 80 }] }],
    },
  };
}

const traefik = (name, value) => ({ [`traefik.ingress.kubernetes.io/router.${name}`]: value });

/** What a tenant may try: the object, the words that refuse it, and a path that it would take at the portal's host. */
const ATTEMPTS = {
  'an Ingress of the host, ranked first': {
    object: ingress({ host: HOST, annotations: traefik('priority', '1000') }),
    words: 'would take requests for WebShell',
  },
  'an Ingress of a wildcard that covers it, whose rule is the longer one': {
    object: ingress({ host: '*.test' }),
    words: 'would take requests for WebShell',
  },
  'an Ingress of another host, with the host in its rule by an annotation': {
    object: ingress({
      host: 'a.example',
      pathType: 'ImplementationSpecific',
      annotations: traefik('pathmatcher', `PathPrefix(\`/\`) || Host(\`${HOST}\`) && PathPrefix`),
    }),
    words: 'annotation traefik.ingress.kubernetes.io/router.pathmatcher',
  },
  'an Ingress without a host, for a long path': {
    object: ingress({ path: LONG }),
    words: 'an Ingress without a host',
    path: LONG,
  },
  'an HTTPRoute of a wildcard that covers it, for a long path': {
    object: httpRoute(['*.test']),
    words: 'would take requests for WebShell',
    path: LONG,
  },
  'an HTTPRoute without hostnames, for a long path': {
    object: httpRoute(),
    words: 'a route without hostnames',
    path: LONG,
  },
};

/** A namespace with a Service that leads to a server of somebody's who may write routes there. */
async function attacker(t) {
  const server = http.createServer((_, response) => response.end('evil')).listen(0, VM_ADDRESS);
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const tenant = await Tenant.create(t);
  const { port } = server.address();
  await tenant.applies(
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'evil' },
      spec: { ports: [{ port: 80, targetPort: port }] },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'evil', labels: { 'kubernetes.io/service-name': 'evil' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [VM_ADDRESS], conditions: { ready: true } }],
      ports: [{ port, protocol: 'TCP' }],
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name: 'routes' },
      rules: [{ apiGroups: ['gateway.networking.k8s.io'], resources: ['httproutes'], verbs: ['*'] }],
    },
  );
  const mallory = await User.create(tenant.namespace, { name: 'mallory', mayConnect: false });
  await tenant.allows(mallory, 'edit');
  await tenant.allows(mallory, 'routes', 'role');
  return { tenant, mallory };
}

const isEvil = async (path = '/') => (await send(`https://${HOST}${path}`)).body === 'evil';

test("pods run as the user that the cluster wants, and a gateway's shell is ready", async (t) => {
  const sshd = await sshdFor(t);
  const tenant = await Tenant.create(t, { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } });
  await tenant.shell(sshd, 'db-1');
  await tenant.isReady('db-1');
  const { items } = await tenant.get('pods', '--selector=app.kubernetes.io/name=webshell-gateway');
  assert.deepEqual(
    items.map(({ spec }) => spec.securityContext.runAsUser),
    [USER_ID],
  );
  await tenant.isServed();
});

suite('routes for the hosts of others', () => {
  test('are refused, each kind', async (t) => {
    const { tenant, mallory } = await attacker(t);
    for (const [name, { object, words, path }] of Object.entries(ATTEMPTS)) {
      await assert.rejects(tenant.appliesAs(mallory, object), (error) => error.message.includes(words), name);
      assert.equal(await isEvil(path), false, name);
    }
  });

  test('would take the portal over, each kind, if the policies were not there', async (t) => {
    const { tenant, mallory } = await attacker(t);
    for (const kind of ['ingresses', 'routes']) {
      await kubectl(['delete', 'validatingadmissionpolicybinding', `webshell-reserved-hosts-of-${kind}`]);
    }
    for (const [name, { object, path }] of Object.entries(ATTEMPTS)) {
      await eventually(`${name} is admitted`, () =>
        tenant.appliesAs(mallory, object).then(
          () => true,
          () => false,
        ),
      );
      await eventually(`${name} takes the portal over`, () => isEvil(path));
      await tenant.delete(object.kind, 'evil');
      await eventually(`${name} is gone`, async () => !(await isEvil(path)));
    }
  });
});
