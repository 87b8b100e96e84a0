// Where the tests run: what e2e/cluster/up, or whoever has another cluster, says of it (see `run`).

import { startSshd } from '../../browser/support/sshd.js';
import { run } from './cluster.js';

/** The ingress controller's address, one of this machine's that pods reach, and the file with the authority of the certificate. */
export const { ADDRESS, VM_ADDRESS, CA } = process.env;

/** A machine for terminals to lead to. */
export const sshdFor = (t, options) => startSshd(t, { address: VM_ADDRESS, ...options });

/** Waits until these addresses of portal and gateways answer, by the way that browsers take. */
export function ping(...addresses) {
  const urls = addresses.map((address) => address.replace(/^http/, 'ws'));
  const env = { SSL_CERT_FILE: CA };
  return run(process.env.WEBSHELL, ['ping', '--timeout=60s', `--connect-to=${ADDRESS}:443`, ...urls], { env });
}
