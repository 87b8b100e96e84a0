// Where the tests run: what e2e/cluster/up, or whoever has another cluster, says of it (see `run`).

import { readFileSync } from 'node:fs';
import { run } from './cluster.js';

/** The ingress controller's address, and one of this machine's that pods reach. */
export const { ADDRESS, VM_ADDRESS } = process.env;

/** The authority of the ingress controller's certificate. */
export const authority = () => readFileSync(process.env.CA);

/** Waits until these addresses of portal and gateways answer, by the way that browsers take. */
export function ping(...addresses) {
  const urls = addresses.map((address) => address.replace(/^http/, 'ws'));
  const env = { SSL_CERT_FILE: process.env.CA };
  return run(process.env.WEBSHELL, ['ping', '--timeout=60s', `--connect-to=${ADDRESS}:443`, ...urls], { env });
}
