// What only a browser and its gateway may know, and all that others can read.

import { kinds, kubectl } from './cluster.js';

/** What lets somebody in, as a browser sends and is told it from now on: by kind, each with all that were heard. */
export class Overheard {
  token = new Set();
  ticket = new Set();
  resumption = new Set();

  constructor(context) {
    context.on('request', (request) => {
      const body = request.postData() ?? '';
      for (const [, token] of body.matchAll(/"token":"([^"]+)"/g)) this.token.add(token);
      for (const [, ticket] of body.matchAll(/ticket=([^&]+)/g)) this.ticket.add(ticket);
    });
    context.on('page', (page) =>
      page.on('websocket', (socket) =>
        socket.on('framereceived', ({ payload }) => {
          for (const [, token] of String(payload).matchAll(/"token":"([^"]+)"/g)) this.resumption.add(token);
        }),
      ),
    );
  }
}

/** Every log, event and object of these namespaces but Secrets. */
export async function readable(...namespaces) {
  const all = (await kinds('--namespaced')).filter((kind) => kind !== 'secrets').join(',');
  const texts = namespaces.flatMap((namespace) => [
    kubectl(['get', all, '-o', 'json', '--show-managed-fields', '--namespace', namespace]),
    kubectl(['logs', '--selector=app.kubernetes.io/part-of=webshell', '--tail=-1', '--namespace', namespace]),
  ]);
  return (await Promise.all(texts)).join('\n');
}
