// Somebody who may open shells, and their browser.

import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { Stage } from '../../browser/support/stage.js';
import { kubectl } from './cluster.js';
import { ADDRESS, CA } from './place.js';

/** A user: a ServiceAccount of the namespace, who may open its shells. */
export class User {
  static async create(namespace, { name = 'ada', mayConnect = true } = {}) {
    const user = new User();
    Object.assign(user, { namespace, name });
    await kubectl(['create', 'serviceaccount', name, '--namespace', namespace]);
    if (mayConnect) await user.mayConnect();
    return user;
  }

  /** From now on. */
  async mayConnect() {
    const { namespace, name } = this;
    const account = `--serviceaccount=${namespace}:${name}`;
    await kubectl(['create', 'rolebinding', name, '--clusterrole=webshell-user', account, '--namespace', namespace]);
  }

  async mayConnectNoMore() {
    await kubectl(['delete', 'rolebinding', this.name, '--namespace', this.namespace]);
  }

  /** What the portal asks for. */
  async token() {
    const { namespace, name } = this;
    return (await kubectl(['create', 'token', name, '--namespace', namespace, '--audience=webshell.dev'])).trim();
  }
}

/** A stage whose browser finds the installation's names, and trusts the certificate that the authority gave for them. */
export class InstalledStage extends Stage {
  static async set(t, rest = {}) {
    const key = await certificateKey();
    const options = [
      `--host-resolver-rules=MAP *.shell.test ${ADDRESS}, MAP shell.test ${ADDRESS}`,
      `--ignore-certificate-errors-spki-list=${createHash('sha256').update(key).digest('base64')}`,
    ];
    const stage = await super.set(t, { ...rest, options });
    stage.later(() => t.passed || stage.tells());
    return stage;
  }

  /** Prints what its pages show, to find out what went wrong. */
  async tells() {
    for (const page of this.context.pages()) {
      console.error(`=== page ${page.url()}\n${await page.innerText('body').catch(String)}`);
    }
  }

  /** Logs in at the portal, where a page that asks for it has led. */
  async logsIn(page, token) {
    await page.getByLabel('Token').fill(token);
    await page.getByRole('button', { name: 'Log in' }).click();
  }
}

/** The public key of the certificate that is served, once the authority is found to have signed it. */
function certificateKey() {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: ADDRESS, port: 443, servername: 'shell.test', ca: readFileSync(CA) }, () => {
      const { raw } = socket.getPeerCertificate();
      socket.end();
      resolve(new X509Certificate(raw).publicKey.export({ type: 'spki', format: 'der' }));
    });
    socket.on('error', reject);
  });
}
