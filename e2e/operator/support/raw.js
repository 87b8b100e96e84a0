// Requests such as no browser would send.

import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { ADDRESS, CA } from './place.js';

/** What makes a request a WebSocket's. */
export const HANDSHAKE = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

/** Sends one, by the ingress controller where it goes to a name; status, headers and body of the answer. */
export function send(url, { method = 'GET', headers = {}, body } = {}) {
  const { protocol } = new URL(url);
  const lookup = (_, { all }, found) =>
    all ? found(null, [{ address: ADDRESS, family: 4 }]) : found(null, ADDRESS, 4);
  return new Promise((resolve, reject) => {
    const options = { method, headers, lookup, ca: readFileSync(CA), agent: false };
    const request = (protocol === 'https:' ? https : http).request(url, options, async (response) => {
      let text = '';
      for await (const part of response) text += part;
      resolve({ status: response.statusCode, headers: response.headers, body: text });
    });
    request.on('upgrade', ({ statusCode, headers }, socket) => {
      socket.destroy();
      resolve({ status: statusCode, headers, body: '' });
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** The status that a WebSocket is answered with; 101 where it is opened. A header that is undefined is left out. */
export async function handshake(url, headers) {
  const given = Object.entries({ ...HANDSHAKE, ...headers }).filter(([, value]) => value !== undefined);
  return (await send(url, { headers: Object.fromEntries(given) })).status;
}

/** The `Cookie` header that a browser sends to an address. */
export async function cookiesOf(context, url) {
  const cookies = await context.cookies(url);
  return cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
}
