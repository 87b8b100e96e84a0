// A release of the chart, with the image that the cluster has.

import { after, afterEach, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { describe, kubectl, run } from './cluster.js';
import { ADDRESS, CA } from './place.js';

const CHART = fileURLToPath(new URL('../../../charts/webshell', import.meta.url));

/** Where controller and portal run. */
export const SYSTEM = 'webshell-system';

/** The image under test, as repository and tag. */
const { WEBSHELL_IMAGE = 'localhost/webshell:e2e' } = process.env;
const colon = WEBSHELL_IMAGE.lastIndexOf(':');
const [repository, tag] = [WEBSHELL_IMAGE.slice(0, colon), WEBSHELL_IMAGE.slice(colon + 1)];

/** The tag by which the same image counts as another one. */
export const NEXT_TAG = `${tag}-next`;

export const helm = (args) => run('helm', args);

/** Makes a release of the chart, and waits until it works; `values` as `--set` takes them, `flags` as Helm does. */
export async function make(values, { release = 'webshell', flags = [] } = {}) {
  await helm(['install', release, CHART, '--namespace', SYSTEM, ...flags, ...set(values)]);
  await isRolledOut();
}

/** Installs the chart until the end of a test, in a namespace that has the authority which it is to trust. */
export async function install(t, values) {
  t.after(async () => {
    if (!t.passed) console.error(await describe(SYSTEM));
    await uninstall();
    await kubectl(['delete', 'namespace', SYSTEM, '--ignore-not-found']);
  });
  await kubectl(['create', 'namespace', SYSTEM]);
  await kubectl(['create', 'configmap', 'authority', `--from-file=ca.crt=${CA}`, '--namespace', SYSTEM]);
  await make(values);
}

/** Installs the chart for all tests of a file, once what must be there is `prepared`. */
export function installForAll(values, prepared = async () => {}) {
  const file = { passed: true, after: (clear) => Object.assign(file, { clear }) };
  before(async () => {
    await prepared();
    await install(file, values);
  });
  afterEach((t) => Object.assign(file, { passed: file.passed && t.passed }));
  after(() => file.clear?.());
}

/** Gives an installation these values instead of those it has. */
export async function upgrade(values) {
  await helm(['upgrade', 'webshell', CHART, '--namespace', SYSTEM, ...set(values)]);
  await isRolledOut();
}

function set(values) {
  const image = { 'image.repository': repository, 'image.tag': tag, 'gateway.image.tag': tag };
  const place = { 'route.host': 'shell.test', 'route.caConfigMap': 'authority', 'test.connectTo': `${ADDRESS}:443` };
  const all = { ...image, ...place, ...values };
  return Object.entries(all).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
}

async function isRolledOut() {
  for (const role of ['controller', 'portal']) {
    await kubectl(['rollout', 'status', '--namespace', SYSTEM, '--timeout=120s', `deployment/webshell-${role}`]);
  }
}

/** Removes a release, if it is there. */
export const uninstall = (release = 'webshell') =>
  helm(['uninstall', release, '--namespace', SYSTEM, '--ignore-not-found', '--wait']);
