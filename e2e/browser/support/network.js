// The network between browser and gateway: a TCP proxy that can be cut.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** A proxy to a port of this machine. */
export class Network {
  #connections = new Set();
  #cut = false;

  static async start() {
    const network = new Network();
    network.server = createServer((inner) => network.#accept(inner)).listen(0, '127.0.0.1');
    await once(network.server, 'listening');
    network.origin = `http://127.0.0.1:${network.server.address().port}`;
    return network;
  }

  /** The same address by way of this network. */
  through(url) {
    const { pathname, hash } = new URL(url);
    return this.origin + pathname + hash;
  }

  /** Breaks all connections, and lets none through until it is mended. */
  cut() {
    this.#cut = true;
    for (const socket of this.#connections) socket.resetAndDestroy();
  }

  mend() {
    this.#cut = false;
  }

  stop() {
    this.cut();
    this.server.close();
  }

  #accept(inner) {
    if (this.#cut) {
      inner.resetAndDestroy();
      return;
    }
    const outer = connect(this.target, '127.0.0.1');
    for (const [socket, other] of [
      [inner, outer],
      [outer, inner],
    ]) {
      this.#connections.add(socket);
      socket.setNoDelay();
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#connections.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  }
}
