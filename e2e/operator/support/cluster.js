// The cluster that KUBECONFIG names, through kubectl.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { until } from '../../browser/support/wait.js';

/** How long what a cluster does may take, in ms: pods start, controllers take turns. */
const PATIENCE = 120_000;

/** Runs a program to its end; what it printed. */
export function run(program, args, { input, env } = {}) {
  return new Promise((resolve, reject) => {
    const options = { maxBuffer: 64 * 1024 * 1024, env: { ...process.env, ...env } };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (error) reject(new Error(`${program} ${args.join(' ')}: ${stderr || error.message}`));
      else resolve(stdout);
    });
    // One that ends before it has read everything says why by itself.
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
  });
}

export const kubectl = (args, options) => run('kubectl', args, options);

/** One object or a list, as JSON. */
export const get = async (...args) => JSON.parse(await kubectl(['get', '-o', 'json', ...args]));

/** The kinds of objects that can be listed, those of some API calls or all. */
export async function kinds(...which) {
  return (await kubectl(['api-resources', '--verbs=list', '-o', 'name', ...which])).trim().split('\n');
}

/** Applies objects, or what a file holds. */
export function apply(objects) {
  const input = objects.map((object) => JSON.stringify(object)).join('\n---\n');
  return kubectl(['apply', '-f', '-'], { input });
}

/** A namespace until the end of the test. What stands in it is printed if the test fails. */
export async function createNamespace(t, prefix = 'e2e') {
  const name = `${prefix}-${randomBytes(3).toString('hex')}`;
  await kubectl(['create', 'namespace', name]);
  t.after(async () => {
    if (!t.passed) console.error(await describe(name));
    await kubectl(['delete', 'namespace', name, '--wait=false']);
  });
  return name;
}

/** Objects, events and logs of a namespace, to find out what went wrong. */
export async function describe(namespace) {
  const parts = [
    ['get', 'webshells,configmaps,deployments,pods,services,ingresses,networkpolicies,events', '-o', 'wide'],
    ['get', 'webshells', '-o', 'yaml'],
    ['get', 'httproutes', '-o', 'yaml'],
    ['logs', '--selector=app.kubernetes.io/part-of=webshell', '--tail=1000', '--prefix'],
  ];
  const texts = parts.map((args) => kubectl([...args, '--namespace', namespace]).catch(String));
  return `=== namespace ${namespace}\n${(await Promise.all(texts)).join('\n')}`;
}

/** Waits until a WebShell's condition has this status, and with it this reason if one is given; the condition. */
export function condition(namespace, name, type, status, reason) {
  const found = async () => {
    const shell = await get('webshell', name, '--namespace', namespace);
    return shell.status?.conditions?.find((condition) => condition.type === type);
  };
  return until(
    async () => `${namespace}/${name} has ${type}=${status} ${reason ?? ''}; it has ${JSON.stringify(await found())}`,
    async () => {
      const condition = await found();
      const is = condition?.status === status && (reason === undefined || condition.reason === reason);
      return is && condition;
    },
    PATIENCE,
  );
}

/** Waits until something of the cluster holds. */
export const eventually = (what, holds) => until(what, holds, PATIENCE);
