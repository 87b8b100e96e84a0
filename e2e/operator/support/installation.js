// A release of the chart, with the image that the cluster has.

import { fileURLToPath } from 'node:url';
import { describe, kubectl, run } from './cluster.js';
import { CA } from './place.js';

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
  await kubectl(['create', 'namespace', SYSTEM]);
  t.after(async () => {
    if (!t.passed) console.error(await describe(SYSTEM));
    await uninstall();
    await kubectl(['delete', 'namespace', SYSTEM]);
  });
  await kubectl(['create', 'configmap', 'authority', `--from-file=ca.crt=${CA}`, '--namespace', SYSTEM]);
  const image = { 'image.repository': repository, 'image.tag': tag, 'gateway.image.tag': tag };
  const all = { ...image, 'route.caConfigMap': 'authority', ...values };
  const set = Object.entries(all).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
  await helm(['install', 'webshell', CHART, '--namespace', SYSTEM, ...set]);
  await kubectl(['rollout', 'status', '--namespace', SYSTEM, '--timeout=120s', 'deployment/webshell-controller']);
  await kubectl(['rollout', 'status', '--namespace', SYSTEM, '--timeout=120s', 'deployment/webshell-portal']);
}

/** Removes the release, if it is there. */
export const uninstall = () => helm(['uninstall', 'webshell', '--namespace', SYSTEM, '--ignore-not-found', '--wait']);
