// A release of the chart, with the image that the cluster has.

import { fileURLToPath } from 'node:url';
import { describe, kubectl, run } from './cluster.js';

const CHART = fileURLToPath(new URL('../../../charts/webshell', import.meta.url));

/** Where controller and portal run. */
export const SYSTEM = 'webshell-system';

/** The image under test, as repository and tag. */
const { WEBSHELL_IMAGE = 'localhost/webshell:e2e' } = process.env;
const colon = WEBSHELL_IMAGE.lastIndexOf(':');
const [repository, tag] = [WEBSHELL_IMAGE.slice(0, colon), WEBSHELL_IMAGE.slice(colon + 1)];

export const helm = (args) => run('helm', args);

/** Installs the chart until the end of a test or suite; `values` as `--set` takes them. */
export async function install(t, values) {
  const image = { 'image.repository': repository, 'image.tag': tag, 'gateway.image.tag': tag };
  const set = Object.entries({ ...image, ...values }).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
  await helm(['install', 'webshell', CHART, '--namespace', SYSTEM, '--create-namespace', ...set]);
  t.after(async () => {
    if (!t.passed) console.error(await describe(SYSTEM));
    await uninstall();
    await kubectl(['delete', 'namespace', SYSTEM]);
  });
  await kubectl(['rollout', 'status', '--namespace', SYSTEM, '--timeout=120s', 'deployment/webshell-controller']);
  await kubectl(['rollout', 'status', '--namespace', SYSTEM, '--timeout=120s', 'deployment/webshell-portal']);
}

/** Removes the release, if it is there. */
export const uninstall = () => helm(['uninstall', 'webshell', '--namespace', SYSTEM, '--ignore-not-found', '--wait']);
