// The controller, as those see it who operate it.

import { eventually, get, kubectl } from './cluster.js';
import { SYSTEM } from './installation.js';

const NAME = 'webshell-controller';

/** The pod that holds the Lease, or undefined. */
async function leader() {
  const { spec } = await get('lease', NAME, '--namespace', SYSTEM);
  return spec.holderIdentity;
}

/** Samples of its metrics whose names begin so, as numbers. */
async function samples(pod, name) {
  const path = `/api/v1/namespaces/${SYSTEM}/pods/${pod}:8081/proxy/metrics`;
  const lines = (await kubectl(['get', '--raw', path])).split('\n').filter((line) => line.startsWith(name));
  return lines.map((line) => Number(line.split(' ').at(-1)));
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Ends the controller, and waits until the next one has looked at every namespace. Returns how much that one has written. */
export async function restartController() {
  const before = await leader();
  await kubectl(['delete', 'pod', before, '--namespace', SYSTEM]);
  const namespaces = (await get('namespaces')).items.length;
  const next = await eventually('another controller leads', async () => {
    const now = await leader();
    return now && now !== before && now;
  });
  await eventually('it has looked at every namespace', async () => {
    const done = await samples(next, 'webshell_reconciles_total{outcome="done"}').catch(() => []);
    return sum(done) >= namespaces && sum(await samples(next, 'webshell_reconcile_queue')) === 0;
  });
  return sum(await samples(next, 'webshell_api_writes_total'));
}

/** What it has logged at these levels or worse about something. */
export async function complaints(about) {
  const log = await kubectl(['logs', '--namespace', SYSTEM, `deployment/${NAME}`, '--tail=-1']);
  return log.split('\n').filter((line) => /"level":"(WARN|ERROR)"/.test(line) && line.includes(about));
}
