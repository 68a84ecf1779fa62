'use strict';

const net = require('node:net');

// Forwards TCP connections to the broker until they are cut.
class Proxy {
  constructor(target) {
    this.sockets = new Set();
    this.server = net.createServer((client) => {
      const upstream = net.connect(target.port, target.hostname);
      this.join(client, upstream);
      this.join(upstream, client);
    });
  }

  join(from, to) {
    this.sockets.add(from);
    from.pipe(to);
    from.on('error', () => to.destroy());
    from.on('close', () => {
      this.sockets.delete(from);
      to.destroy();
    });
  }

  listen() {
    return new Promise((resolve) => {
      this.server.listen(0, '127.0.0.1', () => resolve(this.server.address().port));
    });
  }

  // Resets all connections; new ones are still accepted.
  cut() {
    for (const socket of this.sockets) {
      socket.resetAndDestroy();
    }
  }

  close() {
    this.server.close();
    this.cut();
  }
}

module.exports = {Proxy};
