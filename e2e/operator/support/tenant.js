// A namespace as those have it who write WebShells there: applied, changed, looked at and opened.

import { matching } from '../../browser/support/screen.js';
import { apply, condition, createNamespace, eventually, get, kubectl } from './cluster.js';
import { ping } from './place.js';
import { InstalledStage, User } from './user.js';

/** A namespace until the end of the test. */
export class Tenant {
  constructor(t, namespace) {
    this.t = t;
    this.namespace = namespace;
  }

  /** A new one. */
  static async create(t, { labels = {} } = {}) {
    const tenant = new Tenant(t, await createNamespace(t));
    for (const [name, value] of Object.entries(labels)) await tenant.label(name, value);
    return tenant;
  }

  label(name, value) {
    return kubectl(['label', 'namespace', this.namespace, `${name}=${value}`]);
  }

  unlabel(name) {
    return kubectl(['label', 'namespace', this.namespace, `${name}-`]);
  }

  /** Applies objects to the namespace. */
  applies(...objects) {
    const { namespace } = this;
    return apply(objects.map((object) => ({ ...object, metadata: { ...object.metadata, namespace } })));
  }

  /** Applies one as a user would. */
  appliesAs(user, object) {
    const input = JSON.stringify({ ...object, metadata: { ...object.metadata, namespace: this.namespace } });
    return kubectl(['apply', '-f', '-', `--as=system:serviceaccount:${user.namespace}:${user.name}`], { input });
  }

  /** Gives a user a ClusterRole, or a Role, in the namespace. */
  allows({ namespace, name }, role, kind = 'clusterrole') {
    const account = `--serviceaccount=${namespace}:${name}`;
    return kubectl(['create', 'rolebinding', `${name}-${role}`, `--${kind}=${role}`, account, '-n', this.namespace]);
  }

  /** Applies a WebShell for an SSH server, `spec` changed as said; and its Secret, unless that is null. */
  shell(sshd, name, { secret, ...spec } = {}) {
    const [shell, ordinary] = sshd.manifests({ name, terminal: { command: sshd.bash }, secret, ...spec });
    // The Secret first: one that is not there yet is looked for again only after a while.
    return this.applies(...(secret === null ? [] : [ordinary]), shell);
  }

  secret(name, stringData) {
    return this.applies({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData });
  }

  /** Changes the spec of a WebShell by a merge patch. */
  async changes(name, spec) {
    await kubectl(['patch', 'webshell', name, '--type=merge', '-p', JSON.stringify({ spec }), '-n', this.namespace]);
  }

  delete(kind, name) {
    return kubectl(['delete', kind, name, '-n', this.namespace]);
  }

  get(...args) {
    return get(...args, '-n', this.namespace);
  }

  /** Everything in the namespace but Secrets, as it is kept. */
  yaml() {
    const kinds =
      'webshells,configmaps,deployments,replicasets,pods,services,ingresses,rolebindings,serviceaccounts,events';
    return kubectl(['get', kinds, '-o', 'yaml', '--show-managed-fields', '-n', this.namespace]);
  }

  /** Waits until a WebShell has this condition; the words with it. */
  async has(name, type, status, reason) {
    return (await condition(this.namespace, name, type, status, reason)).message;
  }

  isReady(name) {
    return this.has(name, 'Ready', 'True');
  }

  /** Waits until a WebShell is not ready for this condition, and says so; the condition's words. */
  async lacks(name, type, status, reason) {
    const summary = async () => {
      const { conditions = [] } = (await this.get('webshell', name)).status ?? {};
      const said = conditions.find((condition) => condition.type === type);
      const ready = conditions.find((condition) => condition.type === 'Ready');
      return { said, ready, expected: said && `${type} is ${status} (${reason}): ${said.message}` };
    };
    const { said } = await eventually(
      async () => `${name} is not ready for ${type} ${reason}; it has ${JSON.stringify(await summary())}`,
      async () => {
        const { said, ready, expected } = await summary();
        return said?.status === status && said.reason === reason && ready?.message === expected && { said };
      },
    );
    return said.message;
  }

  /** The gateway's pods, each with the restarts of its container. */
  async pods() {
    const { items } = await this.get('pods', '--selector=app.kubernetes.io/name=webshell-gateway');
    return items.map(({ metadata, status }) => [metadata.uid, status.containerStatuses?.[0]?.restartCount]);
  }

  /** Where a shell is. */
  url(name) {
    return `https://${this.namespace}.shell.test/${this.namespace}/${name}/`;
  }

  /** Waits until browsers are led to the gateway, whatever a status says that an earlier installation has left. */
  isServed() {
    return ping('https://shell.test/-/ping', new URL('../-/ping', this.url('x')).href);
  }

  /** The page of a shell, as a user sees it who logs in: ada, who may open all, or another. */
  async opens(name, { user, stage } = {}) {
    this.ada ??= user ?? (await User.create(this.namespace));
    await this.isServed();
    const on = stage ?? (await InstalledStage.set(this.t, { expected: this.expected }));
    const terminal = await on.visit(this.url(name));
    await on.logsIn(terminal.page, await (user ?? this.ada).token());
    return terminal;
  }

  /** Presses the button until a shell comes of it: what was changed takes a moment to arrive. */
  async startsAgain(terminal) {
    await this.#pressesUntil('a shell is opened', terminal, ({ kind }) => kind === 'connected');
  }

  /** Presses the button until the page says why no shell comes of it. */
  async startsInVain(terminal, ...words) {
    const says = ({ kind }, text) => kind === 'ended' && words.every((word) => matching(word).test(text));
    await this.#pressesUntil(`the page says ${words}`, terminal, says);
  }

  #pressesUntil(what, terminal, holds) {
    // The panel may go while it is looked at.
    const options = { timeout: 1000 };
    const text = async () =>
      (await terminal.panel.isVisible()) ? terminal.panel.innerText(options).catch(() => '') : '';
    return eventually(
      async () => `${what}; the page says: ${await text()}`,
      async () => {
        const state = (await terminal.state()) ?? {};
        if (holds(state, await text())) return true;
        if (state.kind === 'ended') await terminal.button('Start again').click(options).catch(String);
        return false;
      },
    );
  }
}
