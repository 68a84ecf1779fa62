# frozen_string_literal: true

require 'socket'

# Forwards TCP connections to the broker until they are cut.
class Proxy
  RESET_ON_CLOSE = [1, 0].pack('ii')

  def initialize(host, port)
    @target = [host, port]
    @listener = TCPServer.new('127.0.0.1', 0)
    @sockets = []
    @lock = Mutex.new
    Thread.new { accept_all }
  end

  def port
    @listener.local_address.ip_port
  end

  # Resets all connections, on both sides; new ones are still accepted.
  def cut
    @lock.synchronize do
      @sockets.reject(&:closed?).each do |socket|
        socket.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, RESET_ON_CLOSE)
        socket.close
      end
      @sockets.clear
    end
  end

  def close
    @listener.close
    cut
  end

  private

  def accept_all
    loop do
      client = @listener.accept
      server = TCPSocket.new(*@target)
      @lock.synchronize { @sockets.push(client, server) }
      Thread.new { forward(client, server) }
      Thread.new { forward(server, client) }
    end
  rescue IOError
    # The listener was closed, which is how the proxy ends.
  end

  def forward(from, to)
    loop { to.write(from.readpartial(65_536)) }
  rescue IOError, SystemCallError
    # One side is gone, and so the other side goes.
    @lock.synchronize { [from, to].each(&:close) }
  end
end
