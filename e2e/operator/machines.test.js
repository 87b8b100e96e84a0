// Kinds of machines that terminals lead to: a pod behind a Service, which the quick start has, and one with Dropbear.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createUser, needsRoot } from '../browser/support/sshd.js';
import { kubectl } from './support/cluster.js';
import { startDropbear } from './support/dropbear.js';
import { installForAll } from './support/installation.js';
import { VM_ADDRESS } from './support/place.js';
import { Tenant } from './support/tenant.js';
import { InstalledStage } from './support/user.js';

installForAll({
  'route.mode': 'Host',
  'route.kind': 'Ingress',
  // A namespace ends no sooner than half of what its pods may take.
  'gateway.drainTimeout': '2s',
});

const EXAMPLE = fileURLToPath(new URL('../../examples/cluster/vm.yaml', import.meta.url));

test("the example's pod is reached by its Service, and another with its name is not taken for it", async (t) => {
  const tenant = new Tenant(t, 'examples');
  t.after(() => kubectl(['delete', '-f', EXAMPLE]));
  await kubectl(['apply', '-f', EXAMPLE]);
  await tenant.isReady('vm');
  await kubectl(['rollout', 'status', 'deployment/vm', '--timeout=120s', '-n', 'examples']);
  // Without its WebShell the namespace has no gateway for a while.
  const stage = await InstalledStage.set(t, { expected: /WebSocket connection|40[14]|50[23]/ });
  const terminal = await tenant.opens('vm', { stage });
  await terminal.is('connected');
  await terminal.enters('echo "I am $(whoami) on $(hostname)"');
  const [, before] = await terminal.shows(/^I am ops on (vm-\S+)$/);

  await tenant.delete('pod', before);
  await kubectl(['rollout', 'status', 'deployment/vm', '--timeout=120s', '-n', 'examples']);
  await tenant.startsInVain(terminal, 'is not the one known', 'Expected', 'The host showed');
  await tenant.delete('webshell', 'vm');
  await kubectl(['apply', '-f', EXAMPLE]);
  await tenant.isReady('vm');
  await tenant.startsAgain(terminal);
  await terminal.enters('echo "I am $(whoami) on $(hostname)"');
  await terminal.shows(/^I am ops on vm-\S+$/);
});

test('a machine with Dropbear takes its password, or its key', { skip: needsRoot }, async (t) => {
  const user = createUser(t);
  const dropbear = await startDropbear(t, { user, address: VM_ADDRESS });
  const tenant = await Tenant.create(t);
  const target = { host: VM_ADDRESS, port: dropbear.port, user: user.name };
  await tenant.shell(dropbear, 'key', { target });
  await tenant.shell(dropbear, 'password', { target, secret: { password: user.password } });
  for (const [name, how] of [
    ['key', /Pubkey auth succeeded/],
    ['password', /Password auth succeeded/],
  ]) {
    await tenant.isReady(name);
    const terminal = await tenant.opens(name);
    await terminal.prompts();
    await terminal.enters('echo "I am $(whoami), asked on $SSH_CONNECTION"');
    await terminal.shows(new RegExp(`^I am ${user.name}, asked on .* ${dropbear.port}$`));
    assert.match(dropbear.log(), how);
  }
});
