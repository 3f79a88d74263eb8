"""TLS client that connects periodically and resumes its session.

The demo starts one process per client. A process ends at the end of its standard input, so it does
not outlive the demo.
"""

import argparse
import contextlib
import os
import socket
import ssl
import sys
import threading
import time


def end_with_parent():
    """Exit when the demo has ended."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)


def connect(context, server, source, session):
    """Send one request; return the session for the next connection."""
    with socket.create_connection(server, timeout=10, source_address=(source, 0)) as tcp:
        with context.wrap_socket(tcp, server_hostname=server[0], session=session) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
            # TLS 1.3 tickets arrive with the response, so the client must read it.
            while tls.recv(4096):
                pass
            session = tls.session
            # Without close_notify OpenSSL removes the session from the server's cache.
            with contextlib.suppress(OSError):
                tls.unwrap()
            return session


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--trust", required=True)
    parser.add_argument("--renew", type=int, default=0)
    parser.add_argument("--pause", type=int, default=250)
    args = parser.parse_args()
    threading.Thread(target=end_with_parent, daemon=True).start()

    host, port = args.server.rsplit(":", 1)
    context = ssl.create_default_context(cafile=args.trust)
    session, used = None, 0
    while True:
        if args.renew and used >= args.renew:
            session, used = None, 0
        try:
            session = connect(context, (host, int(port)), args.source, session)
            used += 1
        except OSError:
            # Packet loss breaks some connections; the next attempt offers the same session.
            pass
        time.sleep(args.pause / 1000)


if __name__ == "__main__":
    main()
